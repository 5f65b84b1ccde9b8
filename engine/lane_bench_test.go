package engine

import (
	"bufio"
	"iter"
	"net"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// BenchmarkLane compares the ways to have gws read messages of many connections on
// one goroutine: what a loop does (a gws.Conn for all of them), and what it could do
// instead. Each operation is a message of 128 bytes, of the next of 1000
// connections. docs/decisions/0012 draws the conclusions.
func BenchmarkLane(b *testing.B) {
	message := wire{}.frame(true, 0, 2, make([]byte, 128))
	up := gws.NewUpgrader(new(forgetful), &gws.ServerOption{ReadBufferSize: gwsBuffer, ParallelGolimit: 1, Logger: gwsLogger{}})
	const conns = 1000

	b.Run("one for all", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		feedGWS(b, up, func() []byte {
			if n++; n > b.N {
				return nil
			}
			return message
		}).ReadLoop()
	})
	b.Run("left by a panic, entered again", func(b *testing.B) {
		b.ReportAllocs()
		var list [conns]*gws.Conn
		var given [conns]bool
		for i := range list {
			list[i] = feedGWS(b, up, func() []byte {
				if given[i] = !given[i]; !given[i] {
					panic(errAtRest)
				}
				return message
			})
		}
		b.ResetTimer()
		for i := range b.N {
			func() {
				defer func() {
					if p := recover(); p != errAtRest {
						panic(p)
					}
				}()
				list[i%conns].ReadLoop()
			}()
		}
	})
	b.Run("coroutines", func(b *testing.B) {
		b.ReportAllocs()
		var resume [conns]func() (struct{}, bool)
		for i := range resume {
			var stop func()
			resume[i], stop = iter.Pull(func(yield func(struct{}) bool) {
				first := true
				feedGWS(b, up, func() []byte {
					if !first && !yield(struct{}{}) {
						return nil
					}
					first = false
					return message
				}).ReadLoop()
			})
			defer stop()
		}
		b.ResetTimer()
		for i := range b.N {
			resume[i%conns]()
		}
	})
	b.Run("a new one for each message", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			given := false
			feedGWS(b, up, func() []byte {
				if given {
					return nil
				}
				given = true
				return message
			}).ReadLoop()
		}
	})
}

// feedGWS returns a gws.Conn that reads what next returns, until that is nil.
func feedGWS(b *testing.B, up *gws.Upgrader, next func() []byte) *gws.Conn {
	conn := &fed{next: next}
	socket, err := up.UpgradeFromConn(conn, bufio.NewReaderSize(conn, gwsBuffer), gwsRequest)
	if err != nil {
		b.Fatal(err)
	}
	return socket
}

// fed is a net.Conn that reads what a function returns.
type fed struct {
	net.Conn
	next func() []byte
	rest []byte
}

func (f *fed) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		if f.rest = f.next(); f.rest == nil {
			return 0, net.ErrClosed
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *fed) Write(p []byte) (int, error) { return len(p), nil }
func (f *fed) SetDeadline(time.Time) error { return nil }
func (f *fed) Close() error                { return nil }

// forgetful lets go of every message.
type forgetful struct{ gws.BuiltinEventHandler }

func (*forgetful) OnMessage(_ *gws.Conn, m *gws.Message) { _ = m.Close() }
