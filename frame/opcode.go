package frame

import "strconv"

// Opcode says how a frame's payload is to be read (RFC 6455 §5.2). Only the
// low four bits are meaningful; the values not named here are reserved.
type Opcode byte

// The opcodes of RFC 6455 §11.8.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// IsControl reports whether o is close, ping or pong (RFC 6455 §5.5).
func (o Opcode) IsControl() bool { return o >= Close && o <= Pong }

// IsData reports whether o is continuation, text or binary (RFC 6455 §5.6).
func (o Opcode) IsData() bool { return o <= Binary }

// String returns the opcode's name in lower case; a reserved one as a number.
func (o Opcode) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return "opcode 0x" + strconv.FormatUint(uint64(o), 16)
}
