package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

type streamRig struct {
	s    *enginetest.Server
	c    *enginetest.Client
	conn *engine.Conn
	end  ending
}

func newStreamRig(t *testing.T, cfg engine.Config) *streamRig {
	t.Helper()
	return streamRigOn(t, enginetest.Start, cfg)
}

func streamRigOn(t *testing.T, start func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server, cfg engine.Config) *streamRig {
	t.Helper()
	r := new(streamRig)
	open := make(conns, 1)
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	r.s = start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: r.end.OnClose}})
	r.c = r.s.Dial()
	r.conn = <-open
	return r
}

// partThen yields so many bytes and then does something else.
func partThen(n int, then func(p []byte) (int, error)) io.Reader {
	return io.MultiReader(bytes.NewReader(letters(n)), readerFunc(then))
}

// However a source misbehaves, SendStream returns its error, the connection ends
// with the code for it, and nothing that the peer got looks like a whole message.
func TestStreamSources(t *testing.T) {
	broken := errors.New("broken source")
	var release chan struct{}
	block := func([]byte) (int, error) { <-release; return 0, io.EOF }
	for name, row := range map[string]struct {
		then   func(p []byte) (int, error)
		err    error // nil: any
		code   frame.CloseCode
		reason string
	}{
		"error":          {func([]byte) (int, error) { return 0, broken }, broken, 1011, "stream failed"},
		"error and data": {func(p []byte) (int, error) { return copy(p, "abc"), broken }, broken, 1011, "stream failed"},
		"nothing, ever":  {func([]byte) (int, error) { return 0, nil }, io.ErrNoProgress, 1011, "stream failed"},
		"too much":       {func(p []byte) (int, error) { return len(p) + 1, nil }, nil, 1011, "stream failed"},
		"less than none": {func([]byte) (int, error) { return -1, nil }, nil, 1011, "stream failed"},
		"panic":          {func([]byte) (int, error) { panic("as asked") }, nil, 1011, "internal error"},
		"Goexit":         {func([]byte) (int, error) { runtime.Goexit(); return 0, nil }, nil, 1011, "internal error"},
		"stall":          {block, engine.ErrStreamStalled, 1011, "stream stalled"},
		"limit":          {func(p []byte) (int, error) { return len(p), nil }, engine.ErrMessageTooBig, 1009, "outbound message too big"},
	} {
		for _, before := range []int{0, 10, 3000} {
			t.Run(name, func(t *testing.T) {
				release = make(chan struct{})
				defer close(release)
				cfg := engine.Config{SendChunkBytes: 1000, MaxMessageBytes: 100_000}
				if name == "stall" {
					cfg.StreamStallTimeout = 60 * time.Millisecond
				}
				r := newStreamRig(t, cfg)
				start := time.Now()
				err := r.conn.SendStream(t.Context(), frame.Binary, partThen(before, row.then))
				require.Less(t, time.Since(start), 5*time.Second)
				require.Error(t, err)
				if row.err != nil {
					require.ErrorIs(t, err, row.err)
				}
				require.NotErrorIs(t, err, net.ErrClosed, "it is not the connection's fault")
				require.ErrorIs(t, r.conn.SendText("later"), net.ErrClosed)
				for {
					h, payload := r.c.ReadFrame()
					if h.Opcode == frame.Close {
						code, reason, err := frame.ParseClose(payload)
						require.NoError(t, err)
						require.Equal(t, row.code, code)
						require.Equal(t, row.reason, reason)
						break
					}
					require.False(t, h.Fin)
				}
				r.c.CloseWrite()
				r.c.ExpectEOF()
				require.Equal(t, row.code, r.end.await(t).Code)
			})
		}
	}
}

// SendStream does not wait for a Read that blocks, whatever ends it, and leaves no
// goroutine or buffer once that Read has returned.
func TestStreamBlockedRead(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(r *streamRig, cancel func())
		err  error
		code frame.CloseCode
	}{
		"context": {func(_ *streamRig, cancel func()) { cancel() }, context.Canceled, frame.CloseGoingAway},
		"abort":   {func(r *streamRig, _ func()) { r.c.Reset() }, net.ErrClosed, frame.CloseAbnormal},
		"shutdown": {func(r *streamRig, _ func()) { go func() { _ = r.s.Shutdown(time.Millisecond) }() },
			net.ErrClosed, frame.CloseGoingAway},
	} {
		t.Run(name, func(t *testing.T) {
			r := newStreamRig(t, engine.Config{SendChunkBytes: 1000, StreamStallTimeout: -1})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			reading, release := make(chan struct{}), make(chan struct{})
			result := make(chan error, 1)
			go func() {
				result <- r.conn.SendStream(ctx, frame.Binary, partThen(2500, func([]byte) (int, error) {
					close(reading)
					<-release
					return 0, io.EOF
				}))
			}()
			<-reading
			row.end(r, cancel)
			start := time.Now()
			require.ErrorIs(t, <-result, row.err)
			require.Less(t, time.Since(start), 5*time.Second)
			if name != "abort" {
				r.c.Close()
			}
			require.Equal(t, row.code, r.end.await(t).Code)
			enginetest.Await(t, func() bool { return r.s.Engine.Stats().Buffers == 1 }, "the source still reads into its buffer, and only it")
			close(release)
			enginetest.Await(t, func() bool { return r.s.Engine.Stats().Buffers == 0 }, "it should give back its buffer")
		})
	}
}

// With the connection's own context closing cuts the stream; the peer never sees
// its end.
func TestStreamIsCutByClose(t *testing.T) {
	r := newStreamRig(t, engine.Config{SendChunkBytes: 1000})
	result := make(chan error, 1)
	source, w := io.Pipe()
	require.NoError(t, r.conn.Go(func(ctx context.Context) { result <- r.conn.SendStream(ctx, frame.Text, source) }))
	_, err := w.Write(letters(1500))
	require.NoError(t, err)
	h, _ := r.c.ReadFrame()
	require.Equal(t, frame.Text, h.Opcode)
	require.NoError(t, r.conn.Close(4000, "enough"))
	require.Error(t, <-result)
	for h.Opcode != frame.Close {
		require.False(t, h.Fin)
		h, _ = r.c.ReadFrame()
	}
	require.NoError(t, w.Close())
	r.c.CloseWrite()
	r.c.ExpectEOF()
	require.EqualValues(t, 4000, r.end.await(t).Code)
}

// What a source has yielded leaves soon although it blocks then, and although it
// goes on in drops; control frames pass meanwhile.
func TestStreamTrickle(t *testing.T) {
	r := newStreamRig(t, engine.Config{})
	source, w := io.Pipe()
	result := make(chan error, 1)
	go func() { result <- r.conn.SendStream(context.Background(), frame.Binary, source) }()
	got := 0
	for n := range 5 {
		start := time.Now()
		_, err := w.Write(pattern(10))
		require.NoError(t, err)
		h, _ := r.c.ReadFrame()
		require.False(t, h.Fin)
		require.EqualValues(t, 10, h.Length)
		require.Equal(t, n > 0, h.Opcode == frame.Continuation)
		require.Less(t, time.Since(start), 500*time.Millisecond) // 5 ms and what a busy machine adds
		got += 10
		require.NoError(t, r.conn.Ping([]byte("passes")))
		h, _ = r.c.ReadFrame()
		require.Equal(t, frame.Ping, h.Opcode)
	}
	drops, stop := make(chan int, 1), make(chan struct{})
	go func() {
		n := 0
		defer func() { drops <- n }()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = w.Write(pattern(1))
				n++
			}
		}
	}()
	start := time.Now()
	for range 3 {
		h, _ := r.c.ReadFrame()
		require.Positive(t, h.Length)
		got += int(h.Length)
	}
	require.Less(t, time.Since(start), 2*time.Second, "drops that keep coming must not keep what has come")
	close(stop)
	total := 50 + <-drops
	require.NoError(t, w.Close())
	for fin := false; !fin; {
		h, _ := r.c.ReadFrame()
		got += int(h.Length)
		fin = h.Fin
	}
	require.Equal(t, total, got)
	require.NoError(t, <-result)
	r.c.Hangup()
}

// Data of each policy waits behind a stream and is kept or dropped as it is behind
// anything else.
func TestStreamPoliciesBehind(t *testing.T) {
	for _, policy := range []backpressure.Policy{backpressure.Congest, backpressure.DropNewest, backpressure.DropOldest} {
		t.Run(policy.String(), func(t *testing.T) {
			r := newStreamRig(t, engine.Config{HighWaterBytes: 50_000, SendChunkBytes: 1000})
			source, w := io.Pipe()
			result := make(chan error, 1)
			go func() { result <- r.conn.SendStream(context.Background(), frame.Text, source) }()
			_, err := w.Write(letters(10))
			require.NoError(t, err)
			r.c.ReadFrame() // it has begun
			class := &backpressure.Class{Overflow: policy}
			var taken []int
			for n := range 30 {
				if r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, numbered(n, 5000)) == nil {
					taken = append(taken, n)
				}
			}
			require.NoError(t, w.Close())
			require.NoError(t, <-result)
			h, _ := r.c.ReadFrame()
			require.True(t, h.Fin && h.Opcode == frame.Continuation)
			require.NoError(t, r.conn.SendWait(t.Context(), frame.Text, []byte("end")))
			var got []int
			for {
				m := r.c.ReadMessage()
				if m.Op == frame.Text {
					break
				}
				got = append(got, numberOf(t, m.Data))
			}
			require.Contains(t, []int{9, 10, 11}, len(got))
			if policy == backpressure.DropOldest {
				require.Len(t, taken, 30)
				taken = taken[30-len(got):]
			}
			require.Equal(t, taken, got)
			r.c.Hangup()
		})
	}
}

// The limit is exact, and says so before a fragment that looks like the last.
func TestStreamLimit(t *testing.T) {
	const limit = 200_000
	for _, source := range []func(n int) io.Reader{
		func(n int) io.Reader { return bytes.NewReader(pattern(n)) },
		func(n int) io.Reader { return iotest.DataErrReader(bytes.NewReader(pattern(n))) },
		func(n int) io.Reader { return iotest.HalfReader(bytes.NewReader(pattern(n))) },
	} {
		r := newStreamRig(t, engine.Config{MaxMessageBytes: limit})
		require.NoError(t, r.conn.SendStream(t.Context(), frame.Binary, source(limit)))
		m := r.c.ReadMessage()
		requireSame(t, pattern(limit), m.Data)
		require.Equal(t, engine.ErrMessageTooBig, r.conn.SendStream(t.Context(), frame.Binary, source(limit+1)))
		for {
			h, payload := r.c.ReadFrame()
			if h.Opcode == frame.Close {
				code, _, err := frame.ParseClose(payload)
				require.NoError(t, err)
				require.Equal(t, frame.CloseMessageTooBig, code)
				break
			}
			require.False(t, h.Fin)
		}
		r.c.CloseWrite()
		r.c.ExpectEOF()
	}
}

// Fragments are as large as they may be, and the last one is empty only if the
// message is. In virtual time: what waits for a goroutine that is held up leaves as a
// fragment of its own.
func TestStreamFragments(t *testing.T) { synctest.Test(t, streamFragments) }

func streamFragments(t *testing.T) {
	r := streamRigOn(t, enginetest.StartMemory, engine.Config{})
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2*chunk - 1, 2 * chunk, 2*chunk + 1, 5 * chunk} {
		done := make(chan error, 1)
		go func() { done <- r.conn.SendStream(context.Background(), frame.Binary, bytes.NewReader(pattern(n))) }()
		left := n
		for first := true; ; first = false {
			h, payload := r.c.ReadFrame()
			require.Equal(t, first, h.Opcode == frame.Binary)
			require.Equal(t, min(left, chunk), len(payload), "of a message of %d bytes", n)
			left -= len(payload)
			require.Equal(t, left == 0, h.Fin)
			if h.Fin {
				break
			}
		}
		require.NoError(t, <-done)
	}
	r.c.Hangup()
}

// Many streams at once, on one connection and on others, each whole.
func TestStreamMany(t *testing.T) {
	r := newStreamRig(t, engine.Config{SendChunkBytes: 1000})
	const n = 20
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			_ = r.conn.SendStream(context.Background(), frame.Binary, iotest.HalfReader(bytes.NewReader(numbered(i, 5000))))
		})
	}
	seen := map[int]bool{}
	for range n {
		seen[numberOf(t, r.c.ReadMessage().Data)] = true
	}
	require.Len(t, seen, n)
	wait.Wait()
	r.c.Hangup()
}

// What is in memory is not read any more when SendStream has returned, so it may be a
// message's Data. The race detector sees it if it is.
func TestStreamFromMemory(t *testing.T) {
	for range 20 {
		r := newStreamRig(t, engine.Config{})
		for name, source := range map[string]interface {
			io.Reader
			Len() int
		}{"bytes.Reader": bytes.NewReader(letters(200_000)), "bytes.Buffer": bytes.NewBuffer(letters(200_000)), "strings.Reader": strings.NewReader(string(letters(200_000)))} {
			done := make(chan error, 1)
			go func() { done <- r.conn.SendStream(t.Context(), frame.Text, source) }()
			require.True(t, r.c.ReadText() == string(letters(200_000)), name)
			require.NoError(t, <-done)
			require.Zero(t, source.Len())
		}
		b := letters(1 << 20)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		source := bytes.NewReader(b)
		require.ErrorIs(t, r.conn.SendStream(ctx, frame.Text, source), context.Canceled)
		clear(b)
		left := source.Len()
		time.Sleep(time.Millisecond)
		require.Equal(t, left, source.Len())
		r.c.Reset()
	}
}
