package engine

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
)

// A lateSocket takes what it is sent after a while; its peer says nothing.
type lateSocket struct {
	*cutSocket
	wait time.Duration
	over chan struct{}
}

func (s lateSocket) read(m memory) (int, error) {
	<-s.over
	return s.cutSocket.read(m)
}

func (s lateSocket) Write(bufs [][]byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	if s.wait > 0 { // timers that are due at once, in many goroutines of a bubble, crash the race detector
		select {
		case <-time.After(s.wait):
		case <-s.over:
		}
	}
	return s.cutSocket.Write(bufs, wait)
}

func (s lateSocket) Await(q *backpressure.Queue) { s.tasks.spawn(func() { q.Resume(true) }) }

func (s lateSocket) close() error {
	_ = s.cutSocket.close()
	close(s.over)
	return nil
}

// A stall counts from when the connection began, however old the engine is: TLS has
// its response written by a goroutine, which a sweep may overtake.
func TestStallOfAResponse(t *testing.T) {
	for wait, stalls := range map[time.Duration]bool{9 * time.Second: false, 13 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			e, err := New(Config{IO: IOGoroutines, WriteStallTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
			require.NoError(t, err)
			time.Sleep(time.Hour)
			end := make(chan *CloseError, 1)
			ep := e.newEndpoint(Endpoint{Handler: Handler{OnClose: func(_ *Conn, err *CloseError) { end <- err }}})
			scope := scopeOf("Late\n\n")
			require.NoError(t, e.admission.enter(scope))
			sock := lateSocket{&cutSocket{tasks: &e.goroutines}, wait, make(chan struct{})}
			e.start(ep, beginning{sock: sock, response: []byte(preface), scope: scope})
			time.Sleep(14 * time.Second)
			synctest.Wait()
			if stalls {
				require.Equal(t, CauseWriteStall, (<-end).Cause)
			} else {
				require.Empty(t, end)
				require.Equal(t, preface, string(sock.out))
				require.Zero(t, e.Stats().Stalled)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = e.Shutdown(ctx) // the peer does not answer
		})
	}
}

// Peers that are late all at the same time are ended a few at a time: those that are not
// late have work to be done, too.
func TestSweeperEndsAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The race detector dies of 8128 goroutines, and a connection has two.
		const n, idle = 2500, 40 * time.Second
		e, err := New(Config{IO: IOGoroutines, IdleTimeout: idle, PingInterval: -1, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
		require.NoError(t, err)
		var mu sync.Mutex
		ended := 0 // guarded by mu
		ep := e.newEndpoint(Endpoint{Handler: Handler{OnClose: func(*Conn, *CloseError) { mu.Lock(); ended++; mu.Unlock() }}})
		for range n {
			scope := scopeOf("")
			require.NoError(t, e.admission.enter(scope))
			e.start(ep, beginning{sock: lateSocket{&cutSocket{tasks: &e.goroutines}, 0, make(chan struct{})}, response: []byte("x"), scope: scope})
		}
		time.Sleep(idle - time.Second)
		synctest.Wait()
		closing := func() (count int) {
			for _, c := range e.registry.all() {
				if c.closing.Load() {
					count++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			return count + ended
		}
		require.Zero(t, closing())
		before, most := 0, 0
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			now := closing()
			most = max(most, now-before)
			before = now
		}
		require.Equal(t, n, before, "all are ended in the end")
		perStep := endsPerSecond / 10 * runtime.GOMAXPROCS(0)
		require.LessOrEqual(t, most, 2*perStep)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.Shutdown(ctx) // the peers do not answer
	})
}

// However many peers are silent, each is pinged in time; of those that fell silent together
// only some at a time.
func TestSweeperPingsEverybody(t *testing.T) {
	for interval, atOnce := range map[time.Duration]float64{time.Second: 1, 30 * time.Second: 0.25} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pingsEverybody(t, interval, atOnce) })
		})
	}
}

// pingsEverybody wants no more than a share of the peers to be pinged in a second.
func pingsEverybody(t *testing.T, interval time.Duration, atOnce float64) {
	const n, rounds = 400, 10
	e, err := New(Config{IO: IOGoroutines, PingInterval: interval, IdleTimeout: time.Hour, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
	require.NoError(t, err)
	var socks []*cutSocket
	for range n {
		scope := scopeOf("")
		require.NoError(t, e.admission.enter(scope))
		sock := &cutSocket{tasks: &e.goroutines}
		e.start(e.endpoint, beginning{sock: lateSocket{sock, 0, make(chan struct{})}, response: []byte("x"), scope: scope})
		socks = append(socks, sock)
	}
	pinged := func() (each []int, all int) {
		for _, sock := range socks {
			sock.mu.Lock()
			each = append(each, bytes.Count(sock.out, []byte{0x89, 0})) // FIN and ping, no payload
			sock.mu.Unlock()
			all += each[len(each)-1]
		}
		return each, all
	}
	before, most := 0, 0
	for begin := time.Now(); time.Since(begin) < rounds*interval; {
		time.Sleep(time.Second)
		synctest.Wait()
		_, now := pinged()
		most = max(most, now-before)
		before = now
	}
	each, _ := pinged()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.Shutdown(ctx) // the peers do not answer
	require.GreaterOrEqual(t, slices.Min(each), rounds*7/10)
	require.LessOrEqual(t, float64(most), atOnce*n)
}
