package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// SendStream sends what r yields as one message of type op, in fragments of at
// most SendChunkBytes, and waits for the socket to take each before it reads on:
// memory stays at one chunk whatever the size. It begins when the connection is
// not congested. Pings, pongs and other
// connections pass meanwhile; other data of this one waits behind. It waits, so
// it belongs on a goroutine of its own, such as one of Go.
//
// What does not end as a whole message ends the connection, so that the peer
// never takes a part for the whole: an error of r with 1011, more than
// MaxMessageBytes with 1009, the end of ctx with 1001, text that is not UTF-8 with
// 1011. With the connection's own context, closing cuts the stream; with another,
// the close frame waits for its end, up to CloseTimeout. Outbound interceptors do
// not see streams.
//
// A fragment leaves when it is full: what trickles in, like a model's tokens, is
// better sent as messages. While r blocks, neither ctx nor the connection's end
// can end SendStream.
func (c *Conn) SendStream(ctx context.Context, op frame.Opcode, r io.Reader) error {
	if op != frame.Text && op != frame.Binary {
		return fmt.Errorf("engine: cannot stream a %v message; text and binary are possible", op)
	}
	s, err := c.openStream(ctx, op)
	if err != nil {
		return err
	}
	err = c.pump(ctx, s, r, op == frame.Text)
	if err == nil {
		return nil
	}
	cause, _ := c.beginShut(streamFailure(ctx, err))
	s.Abort(cause.Code, cause.replyReason())
	c.kick()
	return c.sendError(err)
}

// openStream waits while the connection is congested, as SendWait does.
func (c *Conn) openStream(ctx context.Context, op frame.Opcode) (*backpressure.Stream, error) {
	for {
		s, v := c.queue.OpenStream(op)
		if v != backpressure.Congested {
			return s, c.verdict(v)
		}
		if err := c.queue.Drain(ctx, c.e.cfg.LowWaterBytes); err != nil {
			return nil, c.sendError(err)
		}
	}
}

func streamFailure(ctx context.Context, err error) *CloseError {
	switch {
	case errors.Is(err, ErrMessageTooBig):
		return &CloseError{Code: frame.CloseMessageTooBig, Reason: "outbound message too big"}
	case ctx.Err() != nil:
		return &CloseError{Code: frame.CloseGoingAway, Reason: "stream cancelled"}
	}
	return &CloseError{Code: frame.CloseInternalError, Reason: "stream failed"}
}

// pump writes one fragment behind: the last one must be marked final, and only
// the reader's EOF tells which that is.
func (c *Conn) pump(ctx context.Context, s *backpressure.Stream, r io.Reader, text bool) error {
	now, next := c.e.pool.Get(c.e.cfg.SendChunkBytes), c.e.pool.Get(c.e.cfg.SendChunkBytes)
	defer func() { c.e.pool.Put(now); c.e.pool.Put(next) }()
	total := 0
	var check utf8Check
	have, err := readChunk(r, now, c.e.cfg.SendChunkBytes)
	for {
		more := 0
		if err == nil {
			more, err = readChunk(r, next, c.e.cfg.SendChunkBytes)
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("engine: reading the stream: %w", err)
		}
		last := more == 0
		if total += have; total > c.e.cfg.MaxMessageBytes {
			return ErrMessageTooBig
		}
		if text && !check.valid(now.B, last) {
			return ErrInvalidUTF8
		}
		if err := s.Write(ctx, now.B, last); err != nil || last {
			return err
		}
		now, next, have = next, now, more
	}
}

// readChunk fills b with up to size bytes. It returns io.EOF with the last ones.
func readChunk(r io.Reader, b *frame.Buffer, size int) (int, error) {
	b.B = b.B[:size]
	n, err := io.ReadFull(r, b.B)
	b.B = b.B[:n]
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// utf8Check checks text that comes in pieces which may end inside a rune.
type utf8Check struct {
	open [utf8.UTFMax]byte // an incomplete rune
	n    int
}

// valid takes the next piece and, with last, wants all runes to be complete.
func (u *utf8Check) valid(p []byte, last bool) bool {
	for u.n > 0 && len(p) > 0 {
		u.open[u.n] = p[0]
		u.n++
		p = p[1:]
		if utf8.FullRune(u.open[:u.n]) {
			if !utf8.Valid(u.open[:u.n]) {
				return false
			}
			u.n = 0
		}
	}
	tail := len(p)
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax+1; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				tail = i
			}
			break
		}
	}
	u.n += copy(u.open[u.n:], p[tail:])
	return utf8.Valid(p[:tail]) && !(last && u.n > 0)
}
