package cluster

import "math/rand/v2"

// mostStreams is how many channels a node knows its numbers on. With more, one that it
// forgets begins a new stream.
const mostStreams = 1 << 16

// A stream is a place in what one node publishes on one channel.
type stream struct {
	id     uint64 // of this life of the numbers
	number uint64 // the last one
}

// numbers are those of what a node publishes.
type numbers map[string]*stream

func (n numbers) next(channel string) stream {
	s := n[channel]
	if s == nil {
		if len(n) >= mostStreams {
			for any := range n {
				delete(n, any)
				break
			}
		}
		s = &stream{id: rand.Uint64()}
		n[channel] = s
	}
	s.number++
	return *s
}

// heard are the last numbers that other nodes have used on one channel.
type heard map[nodeID]stream

// A place says where an envelope stands among those that came before.
type place uint8

const (
	inOrder  place = iota
	again          // it has come before
	afterGap       // others before it have not come
)

func (h heard) note(e *envelope) place {
	last, known := h[e.node]
	if known && last.id == e.stream && e.number <= last.number {
		return again
	}
	h[e.node] = stream{e.stream, e.number}
	if known && last.id == e.stream && e.number != last.number+1 {
		return afterGap
	}
	return inOrder
}
