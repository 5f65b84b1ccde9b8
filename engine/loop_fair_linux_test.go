package engine_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// fairRounds is how often each connection of TestLoopFairness has a message echoed.
const fairRounds = 6

// fairTail is the time that all but a hundredth of the echoes take on n connections,
// each of which sends its next message when it has the last one back.
func fairTail(clients []*session) (time.Duration, error) {
	type result struct {
		times []time.Duration
		err   error
	}
	results := make(chan result, len(clients))
	for i, c := range clients {
		go func() { // ends with its rounds
			time.Sleep(time.Duration(i) * 100 * time.Millisecond / time.Duration(len(clients))) // as independent peers would
			r := result{}
			for range fairRounds {
				begun := time.Now()
				_ = c.conn.SetDeadline(begun.Add(enginetest.Patience))
				_, r.err = c.conn.Write(fText("echo"))
				if r.err == nil {
					_, r.err = io.ReadFull(c.r, make([]byte, 6))
				}
				if r.err != nil {
					break
				}
				r.times = append(r.times, time.Since(begun))
				time.Sleep(100 * time.Millisecond)
			}
			results <- r
		}()
	}
	var times []time.Duration
	for range clients {
		r := <-results
		if r.err != nil {
			return 0, r.err
		}
		times = append(times, r.times...)
	}
	slices.Sort(times)
	return times[len(times)*99/100], nil
}

// Handlers that block, of a twentieth of the connections, hardly delay the others of
// their loops: there are workers left, and no loop waits for a handler.
func TestLoopFairness(t *testing.T) {
	const conns, blockers, slack = 1000, 50, 10 * time.Millisecond
	s := enginetest.Start(t, engine.Config{IO: engine.IOLoops, Workers: 64}, onMessage(echo))
	s.Handle("/block", onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		time.Sleep(100 * time.Millisecond)
		return echo(ctx, c, m)
	}))
	connect := func(path string, n int) (all []*session) {
		for range n {
			c, err := openSession(s.Addr(), path, nil, enginetest.Patience)
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.conn.Close() })
			all = append(all, c)
		}
		return all
	}
	others, blocking := connect("/", conns-blockers), connect("/block", blockers)
	var tries []string
	for range 12 { // what else the machine does delays them too
		calm, err := fairTail(others)
		require.NoError(t, err)
		stop, stopped := make(chan struct{}), make(chan error, blockers)
		for _, c := range blocking {
			go func() { // ends with stop
				var err error
				for more := true; more && err == nil; {
					_ = c.conn.SetDeadline(time.Now().Add(enginetest.Patience))
					if _, err = c.conn.Write(fText("echo")); err == nil {
						_, err = io.ReadFull(c.r, make([]byte, 6))
					}
					select {
					case <-stop:
						more = false
					default:
					}
				}
				stopped <- err
			}()
		}
		blocked, err := fairTail(others)
		require.NoError(t, err)
		close(stop)
		for range blocking {
			require.NoError(t, <-stopped)
		}
		tries = append(tries, fmt.Sprintf("%v, with blockers %v", calm, blocked))
		if blocked <= 2*calm+slack {
			t.Log(tries)
			return
		}
	}
	t.Fatalf("99 %% of the echoes took no longer than %v", tries)
}
