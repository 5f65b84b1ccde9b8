package engine

import (
	"flag"
	"os"
	"testing"
)

// All tests of this package run in both ways to wait for sockets: in the other one
// with
//
//	go test ./engine -args -io=epoll
func TestMain(m *testing.M) {
	flag.Func("io", "how engines wait for sockets: goroutine or epoll", func(v string) error {
		c, err := ConfigFrom(func(name string) string {
			if name == "WS_IO" {
				return v
			}
			return ""
		})
		defaultIO = c.IO
		return err
	})
	flag.Parse()
	os.Exit(m.Run())
}

// scopeOf is a handshake with the given header lines.
func scopeOf(headers string) *Scope {
	return packScope([...]string{partHost: "h", partLines: headers}, false)
}
