package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// SendStream sends what r yields as one message of type op, in fragments of at
// most SendChunkBytes, and waits for the socket to take each: memory stays at
// three chunks whatever the size, six and a compressor if it is compressed. It
// begins when the connection is not congested.
// Pings, pongs and other connections pass meanwhile; other data of this one waits
// behind, under its class. A fragment leaves when it is full, or when r has
// yielded nothing more for a few milliseconds. It waits, so it belongs on a
// goroutine of its own, such as one of Go; on an event loop it returns ErrOnLoop.
//
// What does not end as a whole message ends the connection, so that the peer
// never takes a part for the whole: an error or panic of r with 1011, nothing from
// r for StreamStallTimeout with 1011, more than MaxMessageBytes with 1009, the end
// of ctx with 1001, text that is not UTF-8 with 1011. With the connection's own
// context, closing cuts the stream; with another, the close frame waits for its
// end, up to CloseTimeout. Outbound interceptors do not see streams.
//
// SendStream does not wait for a Read that blocks: it may return while r is
// still being read from, once, and what that yields is dropped. Only what is in memory,
// a *bytes.Reader, *bytes.Buffer or *strings.Reader, is surely left alone when it has
// returned, and may hold a message's Data.
func (c *Conn) SendStream(ctx context.Context, op frame.Opcode, r io.Reader) error {
	if op != frame.Text && op != frame.Binary {
		return fmt.Errorf("engine: cannot stream a %v message; text and binary are possible", op)
	}
	if err := mayWait(ctx); err != nil {
		return err
	}
	var rsv byte
	if c.deflateBits != 0 {
		rsv = frame.RSV1
	}
	s, err := c.openStream(ctx, op, rsv)
	if err != nil {
		return err
	}
	p := newPump(c, s, op == frame.Text, r)
	defer p.close()
	err = p.run(ctx)
	if err == nil {
		return nil
	}
	if err == backpressure.ErrClosed {
		return c.closedError()
	}
	cause, _ := c.beginShut(streamFailure(ctx, err))
	s.Abort(cause.Code, cause.replyReason())
	c.kick()
	return err
}

// openStream waits while the connection is congested, as SendWait does.
func (c *Conn) openStream(ctx context.Context, op frame.Opcode, rsv byte) (*backpressure.Stream, error) {
	for {
		s, v := c.queue.OpenStream(op, rsv)
		if v != backpressure.Congested {
			return s, c.verdict(v)
		}
		if err := c.queue.Room(ctx); err != nil {
			return nil, c.sendError(err)
		}
	}
}

func streamFailure(ctx context.Context, err error) *CloseError {
	switch {
	case errors.Is(err, ErrMessageTooBig):
		return &CloseError{Code: frame.CloseMessageTooBig, Reason: "outbound message too big", Cause: CauseError}
	case errors.Is(err, ErrStreamStalled):
		return &CloseError{Code: frame.CloseInternalError, Reason: "stream stalled", Cause: CauseError}
	case ctx.Err() != nil:
		return &CloseError{Code: frame.CloseGoingAway, Reason: "stream cancelled", Cause: CauseError}
	}
	return &CloseError{Code: frame.CloseInternalError, Reason: "stream failed", Cause: CauseError}
}

// streamPause is how long a source may yield nothing before what it has yielded
// leaves as a fragment of its own.
const streamPause = 5 * time.Millisecond

// streamDelay is how long what has been read may wait although more keeps coming
// in drops.
const streamDelay = 50 * time.Millisecond

// A pump moves one message from its source to its stream. It belongs to the
// goroutine in SendStream.
type pump struct {
	c      *Conn
	s      *backpressure.Stream
	source *source
	timer  *time.Timer
	since  time.Time // what has been read waits; zero: a fragment has just left

	text  bool
	check utf8Check

	buf        []byte // of a chunk, and the lookahead
	start, end int    // buf[start:end] is not sent
	total      int
	asked      bool   // the source is reading
	reading    []byte // into this
	paused     bool   // it takes its time: what there is shall leave
	eof        bool   // there is no more
	blocked    bool   // something is due, but the fragment before is still under way

	// with compression the source reads into a buffer of its own
	deflate *deflate.Writer
	packed  *frame.Buffer
	inside  bool // bytes are in the compressor that a Flush would bring out
}

// lookahead is how much is read beyond a fragment before that is sent: only
// then is it known not to be the last.
const lookahead = 64 << 10

func newPump(c *Conn, s *backpressure.Stream, text bool, r io.Reader) *pump {
	chunk := c.e.cfg.SendChunkBytes
	src := startSource(c, r, chunk+min(chunk, lookahead))
	p := &pump{c: c, s: s, source: src, timer: time.NewTimer(time.Hour), text: text, buf: src.buf.B}
	if c.deflateBits != 0 {
		p.packed = c.e.pool.Get(2 * len(p.buf))
		p.buf = p.packed.B
		p.deflate = deflate.NewWriter(c.e.cfg.CompressLevel, int(c.deflateBits))
	}
	return p
}

// close ends the pump, and the source when its Read has returned.
func (p *pump) close() {
	p.timer.Stop()
	p.source.close()
	if p.deflate != nil {
		p.deflate.Close()
		p.c.e.pool.Put(p.packed)
	}
}

func (p *pump) run(ctx context.Context) error {
	for {
		if done, err := p.send(); done || err != nil {
			return err
		}
		p.ask()
		select {
		case got := <-p.source.got:
			if err := p.take(got); err != nil {
				return err
			}
		case <-p.s.Wake():
			if p.s.Ended() {
				return backpressure.ErrClosed
			}
		case <-p.timer.C:
			if !p.has() {
				return ErrStreamStalled
			}
			p.pause()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send writes what is due, and reports whether that was the last.
func (p *pump) send() (done bool, err error) {
	chunk := p.c.e.cfg.SendChunkBytes
	for p.due() {
		n := min(p.end-p.start, chunk)
		last := p.eof && n == p.end-p.start
		ok, err := p.s.TryWrite(p.buf[p.start:p.start+n], last)
		if p.blocked = err == nil && !ok; !ok {
			return false, err
		}
		p.start += n
		p.paused, p.since = false, time.Time{}
		if last {
			return true, nil
		}
	}
	return false, nil
}

func (p *pump) due() bool {
	return p.eof || p.paused && p.end > p.start || p.end-p.start > p.c.e.cfg.SendChunkBytes
}

// has reports whether something has been read and not sent.
func (p *pump) has() bool { return p.end > p.start || p.inside }

// pause makes what there is leave.
func (p *pump) pause() {
	p.paused = true
	if p.inside {
		p.pack(p.deflate.Flush(p.buf[:p.end]))
		p.inside = false
	}
}

// pack takes note of what has come out of the compressor.
func (p *pump) pack(out []byte) { p.buf, p.end = out, len(out) }

// ask has the source read if it does not yet and there is room, and sets the
// time for it.
func (p *pump) ask() {
	if !p.asked && p.start > 0 {
		p.end = copy(p.buf, p.buf[p.start:p.end])
		p.start = 0
	}
	if room := p.room(); !p.asked && !p.eof && len(room) > 0 {
		p.asked, p.reading = true, room
		p.source.next(room)
	}
	stall := p.c.e.cfg.StreamStallTimeout
	switch {
	case p.asked && !p.blocked && p.has():
		if p.since.IsZero() {
			p.since = time.Now()
		}
		p.timer.Reset(min(streamPause, time.Until(p.since.Add(streamDelay))))
	case p.asked && !p.blocked && stall > 0:
		p.timer.Reset(stall)
	default:
		p.timer.Stop()
	}
}

// room returns the memory for the next Read. While a fragment is due, one
// that is compressed reads no further.
func (p *pump) room() []byte {
	switch {
	case p.deflate == nil:
		return p.buf[p.end:]
	case p.end > p.c.e.cfg.SendChunkBytes:
		return nil
	}
	return p.source.buf.B
}

// take checks what the source has yielded.
func (p *pump) take(got yielded) error {
	p.asked = false
	if got.err != nil && got.err != io.EOF {
		return fmt.Errorf("engine: reading the stream: %w", got.err)
	}
	p.eof = got.err == io.EOF
	piece := p.reading[:got.n]
	if p.deflate == nil {
		p.end += got.n
	}
	if p.total += got.n; p.total > p.c.e.cfg.MaxMessageBytes {
		return ErrMessageTooBig
	}
	if p.text && !p.check.valid(piece, p.eof) {
		return ErrInvalidUTF8
	}
	if p.deflate != nil {
		p.inside = p.inside || got.n > 0
		p.pack(p.deflate.Append(p.buf[:p.end], piece))
		if p.eof {
			p.pack(p.deflate.Finish(p.buf[:p.end]))
			p.inside = false
		}
	}
	return nil
}

// A source calls Read on a goroutine of its own, because a Read can block for as
// long as it likes and nothing can make it return. What is in memory cannot block,
// and is read by who asks.
type source struct {
	c   *Conn
	r   io.Reader
	ask chan []byte  // the goroutine's; nil: there is none
	got chan yielded // has room for one, so that nobody need be there to take it
	buf *frame.Buffer
}

// yielded is what a Read has returned.
type yielded struct {
	n   int
	err error
}

func startSource(c *Conn, r io.Reader, size int) *source {
	s := &source{c: c, r: r, got: make(chan yielded, 1), buf: c.e.pool.Get(size)}
	s.buf.B = s.buf.B[:size]
	switch r.(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
	default:
		s.ask = make(chan []byte, 1)
		go s.run() // ends when ask is closed and Read has returned; nobody can wait for that
	}
	return s
}

// next has the source read once, into b.
func (s *source) next(b []byte) {
	if s.ask == nil {
		s.read(b)
		return
	}
	s.ask <- b
}

// close lets go of the source's buffer, at once or when its Read has returned.
func (s *source) close() {
	if s.ask == nil {
		s.c.e.pool.Put(s.buf)
		return
	}
	close(s.ask)
}

func (s *source) run() {
	defer func() { // also after runtime.Goexit in Read
		for range s.ask { // until then the pump may be writing from the buffer
		}
		s.c.e.pool.Put(s.buf)
	}()
	for b := range s.ask {
		s.read(b)
	}
}

var errSourceCrashed = errors.New("engine: the stream's source panicked")

// read reads once, and reports it even if r panics or ends the goroutine.
func (s *source) read(b []byte) {
	got := yielded{err: errSourceCrashed}
	returned := false
	defer func() {
		if !returned {
			s.c.crashed(recover())
		}
		s.got <- got
	}()
	got = readSome(s.r, b)
	returned = true
}

// emptyReads is how many Reads in a row may yield nothing.
const emptyReads = 100

func readSome(r io.Reader, b []byte) yielded {
	for range emptyReads {
		if n, err := r.Read(b); n != 0 || err != nil {
			if n < 0 || n > len(b) {
				return yielded{err: fmt.Errorf("Read returned the impossible count %d", n)}
			}
			return yielded{n, err}
		}
	}
	return yielded{err: io.ErrNoProgress}
}
