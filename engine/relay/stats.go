package relay

import "sync/atomic"

// Stats counts from the relay's beginning.
type Stats struct {
	Relayed     uint64 // messages of workers that went to the clients
	Missed      uint64 // deliveries of them that clients were too slow for
	InvalidJSON uint64 // messages of workers that are not JSON, or binary
	NotObjects  uint64 // messages of workers that are JSON, but no object
	Unknown     uint64 // messages of clients that nobody handles
	Refused     uint64 // peers that said they were workers and could not prove it
}

type counters struct {
	relayed, missed, invalid, notObjects, unknown, refused atomic.Uint64
}

// Stats returns the figures of the moment.
func (r *Relay) Stats() Stats {
	k := &r.stats
	return Stats{k.relayed.Load(), k.missed.Load(), k.invalid.Load(), k.notObjects.Load(), k.unknown.Load(), k.refused.Load()}
}
