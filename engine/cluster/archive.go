package cluster

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Archive keeps what is published in rooms with a history, for all nodes: for each
// channel messages that are numbered from 1 without gaps, in an epoch. Any goroutine may
// call its methods, whose errors, unless they are a *RefusedError, mean that nobody knows.
type Archive interface {
	// Append adds a batch behind what there is, all of it or nothing, and returns the
	// position of its first message. What it has taken is kept as safely as the server
	// has been told to.
	Append(ctx context.Context, channel string, b Batch) (first hub.Position, err error)

	// Read returns messages of a channel behind the number after, the oldest first, not
	// all at once. Without any there are none.
	Read(ctx context.Context, channel string, after uint64) (Page, error)
}

// Batch is what is appended at once.
type Batch struct {
	// By and Number tell it from all others: By is who appends, printable ASCII, and
	// Number counts its batches on the channel. One that has been appended is not appended
	// again: the position that it got is returned, so that who does not know tries again.
	// By has one batch under way on a channel.
	By     string
	Number uint64

	// Seen is the last position that By has seen. A channel that ends before that, in the
	// same epoch, has lost what it had taken: it is begun anew, in another epoch, for its
	// numbers would be given twice. A batch without messages does nothing but that.
	Seen hub.Position

	// Limits is how much the channel keeps, at least: more may be there.
	Limits hub.History

	Messages []Kept
}

// Page is some of a channel.
type Page struct {
	Last     hub.Position // where the channel ends; its zero value: there is nothing
	First    uint64       // the number of the first of the messages
	Messages []Kept
}

// Kept is a message of a history.
type Kept struct {
	When    time.Time // of its publishing, in milliseconds
	Type    frame.Opcode
	Payload []byte
}

// keptHeader is the opcode, and milliseconds since 1970, big endian.
const keptHeader = 9

// AppendTo appends what an Archive may keep of k.
func (k Kept) AppendTo(dst []byte) []byte {
	dst = append(dst, byte(k.Type))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.When.UnixMilli()))
	return append(dst, k.Payload...)
}

// ParseKept reads what AppendTo has written, and returns false for anything else. The
// payload is that of b.
func ParseKept(b []byte) (k Kept, ok bool) {
	if len(b) < keptHeader || b[0] != byte(frame.Text) && b[0] != byte(frame.Binary) {
		return Kept{}, false
	}
	when := time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	return Kept{When: when, Type: frame.Opcode(b[0]), Payload: b[keptHeader:]}, true
}

// appendPlaced writes a message with its position, as nodes tell it to each other.
func appendPlaced(dst []byte, at hub.Position, k Kept) []byte {
	dst = binary.BigEndian.AppendUint64(dst, at.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, at.Seq)
	return k.AppendTo(dst)
}

func parsePlaced(b []byte) (at hub.Position, k Kept, ok bool) {
	if len(b) < 16 {
		return at, k, false
	}
	at = hub.Position{Epoch: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
	k, ok = ParseKept(b[16:])
	return at, k, ok && at.Epoch != 0 && at.Seq != 0
}
