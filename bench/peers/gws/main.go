// Command gws is an echo server on plain gws, set up for speed: its handler
// answers in the read loop, and nothing is compressed, checked or limited
// beyond gws's defaults.
//
// It listens on -addr, prints "listening on ws://HOST:PORT/" as its first line
// and ends on SIGTERM.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/lxzan/gws"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "host:port to listen on; port 0 picks one")
	flag.Parse()
	if err := serve(*addr); err != nil {
		fmt.Fprintln(os.Stderr, "gws:", err)
		os.Exit(1)
	}
}

func serve(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on ws://%v/\n", ln.Addr())
	return http.Serve(ln, upgrade(gws.NewUpgrader(echo{}, &gws.ServerOption{
		ParallelEnabled: false, // a goroutine per message costs more than an echo
	})))
}

// upgrade returns the handler that gws's README recommends: the read loop on a
// goroutine of its own, so that net/http's request can be collected.
func upgrade(u *gws.Upgrader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := u.Upgrade(w, r)
		if err != nil {
			return // gws has answered
		}
		go conn.ReadLoop() // until the connection ends
	}
}

// echo answers every message with itself.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(conn *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = conn.WriteMessage(message.Opcode, message.Bytes())
}
