package backpressure

import (
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

// A Prepared is a message encoded once for many queues. It is immutable and is
// shared by reference, but by queues that mask: they copy it. It counts the references
// of those who have it waiting: the budget bears its bytes once, while there are any.
// The garbage collector frees it.
type Prepared struct {
	op     frame.Opcode
	rsv    byte
	header int
	wire   []byte // the message as one frame
	budget *Budget

	mu   sync.Mutex
	refs int // items of queues
}

// Prepare encodes a data message, op being frame.Text or frame.Binary, and rsv
// the reserved bits of its first frame. It copies payload. While the message
// waits, budget bears it; nil: none does.
func Prepare(op frame.Opcode, rsv byte, payload []byte, budget *Budget) *Prepared {
	h := frame.Header{Fin: true, RSV: rsv, Opcode: op, Length: int64(len(payload))}
	wire := make([]byte, 0, h.Size()+len(payload))
	wire = append(frame.AppendHeader(wire, h), payload...)
	return &Prepared{op: op, rsv: rsv, header: h.Size(), wire: wire, budget: budget}
}

// Opcode returns the message's type.
func (p *Prepared) Opcode() frame.Opcode { return p.op }

// Len returns the message's payload size in bytes.
func (p *Prepared) Len() int { return len(p.wire) - p.header }

// Payload returns the payload; it must not be changed.
func (p *Prepared) Payload() []byte { return p.wire[p.header:] }

// acquire counts an item that refers to p. The first makes the budget bear it; false:
// the budget does not, for an account that holds so much.
func (p *Prepared) acquire(held int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refs == 0 && p.budget != nil && !p.budget.take(cap(p.wire), held+cap(p.wire)) {
		return false
	}
	p.refs++
	return true
}

// mustAcquire is acquire for what is on its way already.
func (p *Prepared) mustAcquire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refs++; p.refs == 1 && p.budget != nil {
		p.budget.add(cap(p.wire))
	}
}

func (p *Prepared) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refs--; p.refs == 0 && p.budget != nil {
		p.budget.add(-cap(p.wire))
	}
}
