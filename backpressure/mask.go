package backpressure

import (
	"crypto/rand"
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

// A keyring holds masking keys that have been drawn and not yet given out. Asking
// the system for each key would cost a system call for each frame.
type keyring struct {
	random [keyringSize]byte
	next   int // the first byte that has not been given out
}

// keyringSize bounds what a pooled keyring holds: 256 keys. From there on the system
// call is a small part of what a key costs.
const keyringSize = 1 << 10

// keyrings are all used up: the first key of each draws from the system.
var keyrings = sync.Pool{New: func() any { return &keyring{next: keyringSize} }}

// newKey returns a masking key for one frame. It comes from the system's strong
// source of entropy, so that nobody who provides payloads can foresee it
// (RFC 6455 §5.3, §10.3), and is given out once: a keyring that has been taken from
// the pool is this goroutine's alone, and goes back without the key.
func newKey() (key [4]byte) {
	k := keyrings.Get().(*keyring)
	if k.next == len(k.random) {
		rand.Read(k.random[:]) // never fails: it ends the program instead
		k.next = 0
	}
	k.next += copy(key[:], k.random[k.next:])
	keyrings.Put(k)
	return key
}

// appendFrame appends a frame to dst. If h says that it is masked it gets a key of
// its own, and the payload is masked in dst.
func appendFrame(dst []byte, h frame.Header, payload []byte) []byte {
	if h.Masked {
		h.Mask = newKey()
	}
	dst = append(frame.AppendHeader(dst, h), payload...)
	if h.Masked {
		frame.Mask(dst[len(dst)-len(payload):], h.Mask, 0)
	}
	return dst
}

// setFragment makes a frame the one under way. If h says that it is masked it gets a
// key of its own, and body, which must be the queue's memory then, is masked where
// it is.
func (it *item) setFragment(h frame.Header, body []byte) {
	if h.Masked {
		h.Mask = newKey()
		frame.Mask(body, h.Mask, 0)
	}
	it.headLen = uint8(len(frame.AppendHeader(it.head[:0], h)))
	it.headOff, it.body, it.begun = 0, body, false
}

// unshared returns a prepared message as an ordinary one, which is copied before it
// is masked. What the others share must stay as it is, and with a key for each queue
// there is nothing left to share.
func (m Message) unshared() Message {
	p := m.Prepared
	m.Opcode, m.RSV, m.Payload, m.Prepared = p.op, p.rsv, p.Payload(), nil
	return m
}
