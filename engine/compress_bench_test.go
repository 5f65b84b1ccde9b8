package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// ticks is n bytes of JSON as a service of prices would send it.
func ticks(n int) []byte {
	rnd := rand.New(rand.NewPCG(7, 7))
	var b strings.Builder
	b.WriteString(`{"type":"ticks","items":[`)
	for b.Len() < n {
		fmt.Fprintf(&b, `{"symbol":"%c%c%c","price":%d.%02d,"volume":%d,"side":"%s"},`,
			'A'+rnd.IntN(26), 'A'+rnd.IntN(26), 'A'+rnd.IntN(26), rnd.IntN(500), rnd.IntN(100), rnd.IntN(10_000), []string{"buy", "sell"}[rnd.IntN(2)])
	}
	return []byte(b.String()[:n])
}

var compressSizes = []int{128, 1 << 10, 16 << 10}

// compressLevels are the settings that are compared; 0 is without compression.
var compressLevels = []int{0, -2, 1, 6}

func levelConfig(level int) engine.Config {
	cfg := engine.Config{PingInterval: -1, IdleTimeout: -1}
	if level != 0 {
		cfg.Compress, cfg.CompressLevel, cfg.CompressMinBytes = true, level, 1
	}
	return cfg
}

// benchPeers connects n peers whose bytes are read and dropped.
func benchPeers(b *testing.B, cfg engine.Config, n int) (*enginetest.Server, []*engine.Conn) {
	open := make(conns, 1)
	s := enginetest.Start(b, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	var list []*engine.Conn
	for range n {
		c := dialPacker(b, s, plainOffer)
		go func() { _, _ = io.Copy(io.Discard, bufio.NewReaderSize(c.Conn, 256<<10)) }() // ends with the connection
		list = append(list, <-open)
	}
	return s, list
}

func wireBytes(s *enginetest.Server, before uint64, n int) float64 {
	return float64(s.Engine.Stats().BytesOut-before) / float64(n)
}

// BenchmarkCompressSend is one send of JSON, to the socket.
func BenchmarkCompressSend(b *testing.B) {
	for _, size := range compressSizes {
		for _, level := range compressLevels {
			b.Run(fmt.Sprintf("%d/level=%d", size, level), func(b *testing.B) {
				s, list := benchPeers(b, levelConfig(level), 1)
				payload := ticks(size)
				before := s.Engine.Stats().BytesOut
				b.ReportAllocs()
				for b.Loop() {
					_ = list[0].SendWait(b.Context(), frame.Text, payload)
				}
				_ = list[0].Drain(b.Context(), 0)
				b.ReportMetric(wireBytes(s, before, b.N), "wire-B/op")
			})
		}
	}
}

// BenchmarkCompressReceive is one message of JSON received, 64 of them in one write.
func BenchmarkCompressReceive(b *testing.B) {
	for _, size := range compressSizes {
		for _, compressed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/compressed=%v", size, compressed), func(b *testing.B) {
				s := enginetest.Start(b, levelConfig(1), engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: answerLast}})
				c := dialPacker(b, s, plainOffer)
				one := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, ticks(size))
				if compressed {
					one = c.packed(frame.Text, deflated(ticks(size), 6), 1<<20)
				}
				many := slices.Concat(slices.Repeat(one, 64), c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, nil))
				reply := make([]byte, 2)
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					if n%64 == 0 {
						_, _ = c.Conn.Write(many)
						_, _ = io.ReadFull(c.r, reply)
					}
				}
				c.hangup()
			})
		}
	}
}

// answerLast answers what stands behind the messages that are measured.
func answerLast(_ context.Context, c *engine.Conn, m engine.Message) error {
	if m.Type == frame.Binary {
		return c.SendBytes(nil)
	}
	return nil
}

// BenchmarkCompressFanout is one prepared message of 1 KiB to 100 peers.
func BenchmarkCompressFanout(b *testing.B) {
	const peers = 100
	for _, how := range []string{"plain", "prepared", "each"} {
		b.Run(how, func(b *testing.B) {
			level := 1
			if how == "plain" {
				level = 0
			}
			s, list := benchPeers(b, levelConfig(level), peers)
			payload := ticks(1 << 10)
			before := s.Engine.Stats().BytesOut
			for b.Loop() {
				p, _ := s.Engine.Prepare(frame.Text, payload)
				if how == "each" {
					for _, c := range list {
						_ = c.SendWait(b.Context(), frame.Text, payload)
					}
				} else {
					engine.Broadcast(b.Context(), slices.Values(list), p)
				}
				for _, c := range list {
					_ = c.Drain(b.Context(), 64<<10)
				}
			}
			for _, c := range list {
				_ = c.Drain(b.Context(), 0)
			}
			b.ReportMetric(wireBytes(s, before, b.N*peers), "wire-B/peer")
		})
	}
}

// BenchmarkCompressIdle is the heap of a connection that has sent and received one
// compressed message, with the client's side of it, which is the same without.
func BenchmarkCompressIdle(b *testing.B) {
	const n = 500
	for _, level := range []int{0, 1} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			for b.Loop() {
				s := enginetest.Start(b, levelConfig(level), onMessage(echo))
				var clients []*enginetest.Client
				before := heapInUse()
				for range n {
					offer := plainOffer
					c := s.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": {offer}}})
					c.SendText(string(ticks(1 << 10)))
					h := make([]byte, 1)
					_, _ = c.Conn.Read(h)
					clients = append(clients, c)
				}
				b.ReportMetric(float64(heapInUse()-before)/n, "B/conn")
				for _, c := range clients {
					c.Close()
				}
				s.AwaitOpen(0)
			}
		})
	}
}

func heapInUse() int {
	runtime.GC()
	runtime.GC() // the pools' second chance
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
