package engine

import (
	"flag"
	"net/http"
	"os"
	"strings"
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

// scopeOf is a handshake with the given header line, its name and its value, or none.
func scopeOf(header string) *Scope {
	h := make(http.Header)
	if name, value, ok := strings.Cut(header, "\n"); ok {
		h.Set(name, strings.TrimSuffix(value, "\n"))
	}
	return packScope([partLines]string{partHost: "h"}, h, false)
}
