package cluster

import "sync/atomic"

// Stats counts from the node's beginning.
type Stats struct {
	Published uint64 // messages left to the outbox, those of the node itself included
	Dropped   uint64 // of those, how many were dropped: oldest of a full outbox, refused by the broker, or plain and in doubt after an outage
	Refused   uint64 // messages for which ErrOutboxFull was returned
	Received  uint64 // messages of other nodes
	Again     uint64 // messages that came again after an outage, and were not delivered again
	Plain     uint64 // messages of plain channels
	Foreign   uint64 // on the nodes' channels what is none of theirs, or cannot be sent here
	Gaps      uint64 // how often OnGap was, or would have been, called
	Outages   uint64 // how often the broker was lost
	Waiting   int    // messages in the outbox now
}

type counters struct {
	published, dropped, refused, received, again, plain, foreign, gaps, outages atomic.Uint64
}

// Stats returns the figures of the moment.
func (n *Node) Stats() Stats {
	n.outbox.mu.Lock()
	waiting := len(n.outbox.queue)
	n.outbox.mu.Unlock()
	k := &n.stats
	return Stats{
		Published: k.published.Load(),
		Dropped:   k.dropped.Load(),
		Refused:   k.refused.Load(),
		Received:  k.received.Load(),
		Again:     k.again.Load(),
		Plain:     k.plain.Load(),
		Foreign:   k.foreign.Load(),
		Gaps:      k.gaps.Load(),
		Outages:   k.outages.Load(),
		Waiting:   waiting,
	}
}
