package cluster

import (
	"slices"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/frame"
)

// OnPlain subscribes a channel that is none of the nodes', for good, and calls hear with
// what any client of the broker publishes on it, PublishPlain of this node included, in
// order. hear must not wait; the payload is valid until it returns. Gaps are told as those
// of rooms are. The error says what is wrong with the channel's name.
func (n *Node) OnPlain(channel string, hear func(payload []byte)) error {
	if err := CheckChannel(channel); err != nil {
		return err
	}
	n.subscribe(Plain, channel)
	s := n.find(channel)
	n.mu.Lock()
	defer n.mu.Unlock()
	s.hear = append(slices.Clip(s.hear), hear)
	return nil
}

func (n *Node) hearers(s *subscription) []func([]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return s.hear
}

// PublishPlain leaves a payload to the outbox that any client of the broker can read. It
// is sent at most once: what was on its way when the broker was lost is not sent again.
// ErrOutboxFull is as with Group.Broadcast. The caller keeps payload.
func (n *Node) PublishPlain(channel string, payload []byte) error {
	if err := CheckChannel(channel); err != nil {
		return err
	}
	return n.outbox.addPlain(channel, payload)
}

// TypeOf returns the type of the message that a plain payload makes: text if it is
// UTF-8, else binary.
func TypeOf(payload []byte) frame.Opcode {
	if utf8.Valid(payload) {
		return frame.Text
	}
	return frame.Binary
}
