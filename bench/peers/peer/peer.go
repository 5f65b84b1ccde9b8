// Package peer is what the rival servers have in common: their command line, the
// line that they print, and the set of connections that a fan-out goes to.
package peer

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// Mode is one way in which a server can run: as a handler of net/http, or, for a
// library that does without, on the listener itself.
type Mode struct {
	Name    string
	Handler func() http.Handler
	Serve   func(net.Listener) error // instead of Handler
}

// Main runs a server named name in the mode that the command line asks for, the
// first one by default. It prints "listening on URL" as its first line and
// returns never; SIGTERM ends the process.
func Main(name string, modes ...Mode) {
	var names []string
	for _, m := range modes {
		names = append(names, m.Name)
	}
	addr := flag.String("addr", "127.0.0.1:0", "host:port to listen on; port 0 picks one")
	mode := flag.String("mode", names[0], strings.Join(names, ", "))
	flag.Parse()
	err := fmt.Errorf("-mode %q: allowed: %s", *mode, strings.Join(names, ", "))
	for _, m := range modes {
		if m.Name == *mode {
			err = m.run(*addr)
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}

func (m Mode) run(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on ws://%v/\n", ln.Addr())
	if m.Serve != nil {
		return m.Serve(ln)
	}
	return http.Serve(ln, m.Handler())
}
