package engine_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

var (
	socketsSeed    = flag.Uint64("inbound.sockets.seed", 0, "the seed of the first stream of TestInboundSockets")
	socketsStreams = flag.Int("inbound.sockets", 300, "how many streams TestInboundSockets sends")
)

// socketsWave is how many connections TestInboundSockets has open at a time.
const socketsWave = 500

// The streams of TestInboundStreams over sockets: every connection ends as the
// reference says, in good order, and the server is as before. The kit asserts at the
// end that no goroutine, descriptor or buffer is left.
func TestInboundSockets(t *testing.T) {
	first := *socketsSeed
	if first == 0 {
		first = rand.Uint64() >> 1
	}
	t.Logf("seed %d", first)
	cfg := engine.Config{
		Compress: true, MaxMessageBytes: engine.InboundLimit, MaxFragments: engine.InboundFragments, ControlFramesPerSecond: -1,
		CloseTimeout: enginetest.Patience, WriteStallTimeout: enginetest.Patience, Logger: quiet,
	}
	s := enginetest.Start(t, cfg, onMessage(echo))
	s.Handle("/inline", engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
	s.Handle("/pull", engine.Endpoint{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
		return c.Go(func(ctx context.Context) {
			for m, err := range c.Messages(context.WithoutCancel(ctx)) {
				if err == nil {
					_ = echo(ctx, c, m)
				}
			}
		})
	}}})
	began := time.Now()
	for done := 0; done < *socketsStreams; done += socketsWave {
		var wave sync.WaitGroup
		for i := done; i < min(done+socketsWave, *socketsStreams); i++ {
			seed := first + uint64(i)
			wave.Go(func() {
				if err := sendInbound(s.Addr(), seed); err != nil {
					t.Errorf("%v\nrepeat with -run TestInboundSockets -args -inbound.sockets=1 -inbound.sockets.seed=%d", err, seed)
				}
			})
		}
		wave.Wait()
		if t.Failed() {
			return
		}
		c := s.Dial()
		c.SendText("alive")
		require.Equal(t, "alive", c.ReadText())
		c.Hangup()
	}
	s.AwaitOpen(0)
	st := s.Engine.Stats()
	t.Logf("%d streams in %v, ended with %v", *socketsStreams, time.Since(began).Round(time.Millisecond), st.Closed)
	for code := range st.Closed {
		require.True(t, code.Sendable() || code == frame.CloseNoStatus || code == frame.CloseAbnormal, "%v", code)
	}
	require.Zero(t, st.Panics)
	require.Zero(t, st.Shed)
}

// sendInbound sends the stream of a seed, reads to the end, and judges it.
func sendInbound(addr string, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 793))
	target := []string{"/", "/inline", "/pull"}[rnd.IntN(3)]
	extension := ""
	deflates := seed%2 == 0
	if deflates {
		extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	}
	conn, err := net.DialTimeout("tcp", addr, enginetest.Patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(enginetest.Patience)); err != nil {
		return err
	}
	ask := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", target, extension)
	wrote := make(chan error, 1)
	go func() {
		wrote <- sendPieces(conn.(*net.TCPConn), rnd, []byte(ask), engine.RandomInbound(seed, engine.InboundLimit, deflates))
	}()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return errors.Join(err, <-wrote)
	}
	out, err := io.ReadAll(r)
	err = errors.Join(err, <-wrote)
	if late := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE); err != nil && !late {
		return fmt.Errorf("%s: no good end: %w", target, err)
	} // late: what was sent behind a close frame has come when the socket was closed; all that there was to read is in out, or its judge will say
	if res.StatusCode != http.StatusSwitchingProtocols || deflates != (res.Header.Get("Sec-WebSocket-Extensions") != "") {
		return fmt.Errorf("%s: %s, %v", target, res.Status, res.Header)
	}
	if err := engine.JudgeInbound(seed, deflates, target == "/inline", out); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// sendPieces writes a request and a stream, together or in a few pieces, and ends.
func sendPieces(conn *net.TCPConn, rnd *rand.Rand, ask, stream []byte) error {
	b := append(ask, stream...)
	for range rnd.IntN(5) {
		n := rnd.IntN(len(b) + 1)
		if rnd.IntN(2) == 0 {
			n = min(len(b), len(ask)+rnd.IntN(40))
		}
		if _, err := conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return conn.CloseWrite()
}
