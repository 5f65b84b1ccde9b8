package backpressure

import (
	"crypto/rand"
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

// A keyring holds masking keys that have been drawn and not yet given out. A key takes
// 21 ns. Asking crypto/rand for each takes 31 ns where the kernel answers without a
// system call (Linux 6.11), and elsewhere a system call a frame, 170 ns and more.
type keyring struct {
	random [keyringSize]byte
	next   int // the first byte that has not been given out
}

// keyringSize is 256 keys: beyond that the system call is a small part of a key's cost.
const keyringSize = 1 << 10

// keyrings makes them used up: the first key draws.
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
