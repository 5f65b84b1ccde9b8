package nats

import (
	"encoding/binary"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A record is a batch as the stream has it: the position of its first message, who has
// published it, and the messages, each with its length. Numbers are big endian.
type record struct {
	first    hub.Position
	by       string
	messages []cluster.Kept
}

const (
	recordMagic  = "PH\x01"
	recordHeader = len(recordMagic) + 8 + 8 + 1 // and by
)

// end is the position of the last message.
func (r record) end() hub.Position {
	if r.first.Epoch == 0 {
		return hub.Position{}
	}
	return hub.Position{Epoch: r.first.Epoch, Seq: r.first.Seq + uint64(len(r.messages)) - 1}
}

func (r record) append(dst []byte) []byte {
	dst = append(dst, recordMagic...)
	dst = binary.BigEndian.AppendUint64(dst, r.first.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, r.first.Seq)
	dst = append(dst, byte(len(r.by)))
	dst = append(dst, r.by...)
	for _, m := range r.messages {
		at := len(dst)
		dst = m.AppendTo(append(dst, 0, 0, 0, 0))
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}

// parseRecord returns false for anything else.
func parseRecord(b []byte) (r record, ok bool) {
	if len(b) < recordHeader || string(b[:len(recordMagic)]) != recordMagic {
		return r, false
	}
	b = b[len(recordMagic):]
	r.first = hub.Position{Epoch: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
	n := int(b[16])
	if b = b[17:]; len(b) < n || r.first.Epoch == 0 || r.first.Seq == 0 {
		return r, false
	}
	r.by, b = string(b[:n]), b[n:]
	for len(b) > 0 {
		if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
			return r, false
		}
		size := 4 + int(binary.BigEndian.Uint32(b))
		m, ok := cluster.ParseKept(b[4:size])
		if !ok {
			return r, false
		}
		r.messages, b = append(r.messages, m), b[size:]
	}
	return r, true
}

// add puts what is behind the number after on a page, and returns how many bytes.
func add(p *cluster.Page, r record, after uint64) (size int) {
	for i, m := range r.messages {
		number := r.first.Seq + uint64(i)
		if number <= after {
			continue
		}
		if len(p.Messages) == 0 {
			p.First = number
		}
		p.Messages = append(p.Messages, m)
		size += len(m.Payload)
	}
	return size
}
