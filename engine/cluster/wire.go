package cluster

import (
	"encoding/binary"

	"github.com/penstock-ws/penstock/frame"
)

// What nodes tell each other is a header and a payload:
//
//	0  'P' 'S', the version 1
//	3  the kind
//	4  the opcode of RFC 6455 §5.2: 1 text, 2 binary; 0 if the kind is no message
//	5  the node's id, 16 bytes
//	21 the stream, 8 bytes: one life of a node's numbers on a channel
//	29 the message's number in the stream, 8 bytes, from 1; 0 for kindLostAll
//	37 the payload
//
// Numbers are big endian. Anything else on a node's channels is foreign, and dropped.
const headerBytes = 37

const magic = "PS\x01"

// A kind says what an envelope is.
type kind uint8

const (
	kindMessage  kind = iota + 1 // a message
	kindKept                     // one that rooms with a history keep
	kindLost                     // the node could not publish some, up to and with this number
	kindLostAll                  // on the channel of all: that, of any channel
	kindPresence                 // who is online, as presence.go has it, in JSON
	kindPlaced                   // a message that is in the archive, with its position
)

// A nodeID tells processes apart.
type nodeID [16]byte

// An envelope is what one node tells the others.
type envelope struct {
	kind    kind
	op      frame.Opcode
	node    nodeID
	stream  uint64
	number  uint64
	payload []byte
}

func (e *envelope) appendTo(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = append(dst, byte(e.kind), byte(e.op))
	dst = append(dst, e.node[:]...)
	dst = binary.BigEndian.AppendUint64(dst, e.stream)
	dst = binary.BigEndian.AppendUint64(dst, e.number)
	return append(dst, e.payload...)
}

// parse returns false for what is foreign. The payload is that of b.
func parse(b []byte) (e envelope, ok bool) {
	if len(b) < headerBytes || string(b[:3]) != magic {
		return envelope{}, false
	}
	e.kind, e.op = kind(b[3]), frame.Opcode(b[4])
	copy(e.node[:], b[5:21])
	e.stream = binary.BigEndian.Uint64(b[21:29])
	e.number = binary.BigEndian.Uint64(b[29:37])
	e.payload = b[headerBytes:]
	isMessage := e.kind == kindMessage || e.kind == kindKept
	isOp := e.op == frame.Text || e.op == frame.Binary
	return e, e.kind >= kindMessage && e.kind <= kindPlaced && isMessage == isOp && (e.number > 0 || e.kind == kindLostAll)
}
