package engine_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// BenchmarkCorkSize is behind the default of Config.CorkBytes: 512 messages sent
// inside one Cork, to a peer that reads, over loopback. ns/message is the sender's
// and the receiver's together.
func BenchmarkCorkSize(b *testing.B) {
	const messages = 512
	for _, size := range []int{32, 128, 1024} {
		for _, cork := range []int{1, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%dB/cork=%d", size, cork), func(b *testing.B) {
				open := make(conns, 1)
				s := enginetest.Start(b, engine.Config{CorkBytes: cork}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
				c := s.Dial()
				conn := <-open
				payload := pattern(size)
				frames := make([]byte, messages*(size+2+2*min(1, size/126)))
				for b.Loop() {
					conn.Cork(func() {
						for range messages {
							if err := conn.SendBytes(payload); err != nil {
								b.Fatal(err)
							}
						}
					})
					if _, err := io.ReadFull(c.Conn, frames); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
			})
		}
	}
}
