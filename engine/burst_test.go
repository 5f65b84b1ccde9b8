package engine

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A long burst writes what is held back at its second tick, and does not gather
// the connections that it has done so for.
func TestBurstTick(t *testing.T) {
	r := newExecutorRig(t, 1, 3)
	defer func() { require.NoError(t, r.e.Shutdown(t.Context())) }()
	own, other := r.conns[0], r.conns[1]
	p, err := r.e.Prepare(frame.Text, []byte("held"))
	require.NoError(t, err)
	b := &burst{e: r.e}
	b.e.ticker = newTicker(r.e) // which does not run
	b.begin(own)
	own.queue.SetCorked(true)
	for range 3 {
		require.NoError(t, own.SendText("held"))
		for range 100 {
			require.NoError(t, other.sendHeld(p, b))
		}
		b.late.Store(false)
		b.tick()
		require.Positive(t, own.PendingBytes())
		require.Positive(t, other.PendingBytes())
		b.tick()
		require.Zero(t, own.PendingBytes())
		require.Zero(t, other.PendingBytes())
		require.Len(t, b.touched, 1)
	}
	require.NoError(t, own.SendText("held"))
	require.NoError(t, other.sendHeld(p, b))
	own.queue.SetCorked(false)
	b.end()
	require.Zero(t, own.PendingBytes())
	require.Zero(t, other.PendingBytes())
	require.NoError(t, other.sendHeld(p, b)) // after the end nothing is held back
	require.Zero(t, other.PendingBytes())
}

// The ticker may come with a burst that has just ended, or begun again; the race
// detector watches.
func TestBurstTickAfterEnd(t *testing.T) {
	r := newExecutorRig(t, 1, 2)
	b := &burst{e: r.e}
	var both sync.WaitGroup
	stop := make(chan struct{})
	both.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.tick()
			}
		}
	})
	for range 5000 {
		b.begin(r.conns[0])
		b.touch(r.conns[1])
		b.end()
	}
	close(stop)
	both.Wait()
	require.NoError(t, r.e.Shutdown(t.Context()))
}
