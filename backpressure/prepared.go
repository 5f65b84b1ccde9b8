package backpressure

import "github.com/penstock-ws/penstock/frame"

// A Prepared is a message encoded once for many queues. It is immutable and is
// shared by reference; the garbage collector frees it when the last queue has
// written it.
type Prepared struct {
	op     frame.Opcode
	header int
	wire   []byte // the message as one frame
}

// Prepare encodes a data message, op being frame.Text or frame.Binary. It copies
// payload.
func Prepare(op frame.Opcode, payload []byte) *Prepared {
	h := frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))}
	wire := make([]byte, 0, h.Size()+len(payload))
	wire = append(frame.AppendHeader(wire, h), payload...)
	return &Prepared{op: op, header: h.Size(), wire: wire}
}

// Opcode returns the message's type.
func (p *Prepared) Opcode() frame.Opcode { return p.op }

// Len returns the message's payload size in bytes.
func (p *Prepared) Len() int { return len(p.wire) - p.header }

// Payload returns the payload; it must not be changed.
func (p *Prepared) Payload() []byte { return p.wire[p.header:] }
