package engine

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// Stats is a snapshot of an engine's figures. Unless they say otherwise they count
// from the engine's start.
type Stats struct {
	Connections int                // open now
	Opened      uint64             // upgraded
	Refused     uint64             // requests that were not upgraded
	RefusedBy   map[Refusal]uint64 // likewise
	Closed      map[frame.CloseCode]uint64
	Ended       map[Cause]uint64                     // likewise: connections that have ended
	EndedBy     map[Cause]map[frame.CloseCode]uint64 // likewise

	MessagesIn  uint64 // data messages received and handed over
	BytesIn     uint64 // their payload
	MessagesOut uint64 // data messages taken for sending
	BytesOut    uint64 // taken by sockets, frame headers included

	Pending    int    // bytes queued now, over all connections
	Congested  int    // connections now whose peer is too slow: sends are refused, and nothing is read
	Buffers    int    // pooled buffers in use now; needs Config.CountBuffers
	Background int    // functions given to Conn.Go that run now
	Panics     uint64 // callbacks that panicked or called runtime.Goexit
	Violations uint64 // connections ended because the peer broke the protocol or a limit
	Stalled    uint64 // connections ended by WriteStallTimeout

	DroppedOverflow uint64 // messages dropped because a peer's queue was full
	DroppedOldest   uint64 // of these, under the policy DropOldest; the others under DropNewest
	DroppedExpired  uint64 // because their time to live had run out
	Replaced        uint64 // by a newer one with the same key

	Workers     int // of the pool: running now
	WorkersMost int // may run
	Runnable    int // connections that wait for a worker now

	BudgetUsed  int    // bytes of the memory budget that are used now, by all who share it
	BudgetLimit int    // of how many
	Shed        uint64 // connections ended for the memory they held
}

// counters holds what outlives a connection; what belongs to one is counted there.
type counters struct {
	opened, panics, violations, stalled, shed atomic.Uint64

	refused [refusals]atomic.Uint64
	drops   backpressure.Drops

	mu      sync.Mutex
	endedBy map[Cause]map[frame.CloseCode]uint64
}

func (k *counters) close(err *CloseError) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.endedBy == nil {
		k.endedBy = make(map[Cause]map[frame.CloseCode]uint64)
	}
	if k.endedBy[err.Cause] == nil {
		k.endedBy[err.Cause] = make(map[frame.CloseCode]uint64)
	}
	k.endedBy[err.Cause][err.Code]++
}

// traffic is what has passed a connection, or all that have ended.
type traffic struct{ messagesIn, bytesIn, messagesOut, bytesOut uint64 }

func (t *traffic) add(more traffic) {
	t.messagesIn += more.messagesIn
	t.bytesIn += more.bytesIn
	t.messagesOut += more.messagesOut
	t.bytesOut += more.bytesOut
}

func (c *Conn) traffic() (t traffic, pending int) {
	out := c.queue.Totals()
	c.mu.Lock()
	defer c.mu.Unlock()
	return traffic{c.receivedN, c.receivedB, out.Messages, out.Written}, out.Pending
}

// Stats returns the figures of the moment. It visits every connection.
func (e *Engine) Stats() Stats {
	k := &e.counters
	var s Stats
	k.mu.Lock()
	s.copyEnds(k.endedBy)
	k.mu.Unlock()
	conns, sum := e.registry.census()
	for _, c := range conns {
		passed, pending := c.traffic()
		sum.add(passed)
		s.Pending += pending
		if c.queue.Congested() {
			s.Congested++
		}
	}
	s.MessagesIn, s.BytesIn, s.MessagesOut, s.BytesOut = sum.messagesIn, sum.bytesIn, sum.messagesOut, sum.bytesOut
	s.Connections = len(conns)
	s.Opened = k.opened.Load()
	s.RefusedBy = make(map[Refusal]uint64)
	for why := range refusals {
		if n := k.refused[why].Load(); n > 0 {
			s.RefusedBy[why] = n
			s.Refused += n
		}
	}
	s.Panics, s.Violations, s.Stalled = k.panics.Load(), k.violations.Load(), k.stalled.Load()
	s.Shed = k.shed.Load()
	s.DroppedOldest, s.DroppedExpired, s.Replaced = k.drops.Oldest.Load(), k.drops.Expired.Load(), k.drops.Replaced.Load()
	s.DroppedOverflow = s.DroppedOldest + k.drops.Newest.Load()
	s.Workers, s.WorkersMost, s.Runnable = e.executor.usage()
	s.BudgetUsed, s.BudgetLimit = e.cfg.Budget.Used(), e.cfg.Budget.Limit()
	s.Background = int(e.background.Load())
	s.Buffers = int(e.pool.Out())
	return s
}

func (s *Stats) copyEnds(ends map[Cause]map[frame.CloseCode]uint64) {
	s.Closed, s.Ended = make(map[frame.CloseCode]uint64), make(map[Cause]uint64)
	s.EndedBy = make(map[Cause]map[frame.CloseCode]uint64)
	for cause, codes := range ends {
		s.EndedBy[cause] = maps.Clone(codes)
		for code, n := range codes {
			s.Closed[code] += n
			s.Ended[cause] += n
		}
	}
}
