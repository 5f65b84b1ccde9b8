package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

var (
	modelSeed   = flag.Uint64("model.seed", 0, "run the model tests with this seed only")
	modelRounds = flag.Int("model.rounds", 75, "runs of each model test, each with a seed of its own")
	modelSteps  = flag.Int("model.steps", 50, "steps of one run")
)

// The engine against a naive model: random operations by the peer, by the
// program and by the clock, several at once, over sockets that know who may use
// them when (docs/architecture.md, "Who owns what"). After every step, when
// nothing moves any more, all that can be observed must be as the model says.
// Time is virtual. The seed decides what is done; the scheduler, in which order
// that which is done at once happens.
func TestModel(t *testing.T) { eachSeed(t, runModel) }

func eachSeed(t *testing.T, run func(*testing.T, uint64)) {
	first, rounds := rand.Uint64(), *modelRounds
	if *modelSeed != 0 {
		first, rounds = *modelSeed, 1
	}
	for i := range rounds {
		seed := first + uint64(i)
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, seed) })
		})
		if !ok {
			t.Fatalf("repeat with -run %s -args -model.seed=%d", t.Name(), seed)
		}
	}
}

// settle waits until nothing moves any more, a flood that is read from slowly included.
func (w *world) settle() {
	synctest.Wait()
	for range 100_000 {
		if !slices.ContainsFunc(w.all, (*party).discards) {
			return
		}
		time.Sleep(discardPause)
		w.slept += discardPause
		synctest.Wait()
	}
}

// discards reports whether its reader drops what is for nobody, or rests from that.
func (p *party) discards() bool {
	if p.c == nil || !p.c.deaf.Load() {
		return false
	}
	p.mu.Lock()
	p.c.mu.Lock()
	done := !p.c.opened || p.c.readDone || p.detainedLocked()
	p.c.mu.Unlock()
	p.mu.Unlock()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return !done && !p.s.held && (!p.s.waits && !p.s.parked || p.s.closes == 0 && len(p.s.in) > 0)
}

// detainedLocked reports whether its reader does something else: it waits for room, or for a
// handler. p.mu and c.mu are held.
func (p *party) detainedLocked() bool { return p.c.paused || p.ep.inline && p.waiting > 0 }

func runModel(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	for range 1 + w.rnd.IntN(4) {
		w.connect()
	}
	for i := 1; i <= *modelSteps && !t.Failed(); i++ {
		w.step(i)
		w.settle()
		w.check()
	}
	w.end()
	if t.Failed() {
		for _, line := range w.log {
			t.Log(line)
		}
	}
}

// preface stands for the response to the handshake.
const preface = "HTTP/1.1 101\r\n\r\n"

// A fakeSocket is a connection in memory: what the peer has sent and not yet been
// read, and what it has been sent. It notes every use that the owner of that side
// was not entitled to.
type fakeSocket struct {
	p     *party
	loop  bool // readiness is told by Resume(false), as an event loop would
	rnd   *rand.Rand
	early []byte

	mu      sync.Mutex
	moved   *sync.Cond
	faults  []string
	sent    []byte // under way
	in      []byte // arrived
	inEnd   error  // follows in
	out     received
	room    int  // bytes that the socket takes; below 0: any number
	held    bool // a write does not return
	outErr  error
	polite  bool // the peer ends when it sees our end
	reading bool
	writing bool

	waits     bool // in read, for the peer
	nudged    bool // a deadline has passed
	parked    bool
	parkings  int
	readOver  bool // a read has returned an error
	writeOver bool // a write has
	awaited   bool
	halfClose int
	closes    int
	t         *transport
	mid       bool      // was closed while a direction was still good
	overdue   bool      // was closed when a timeout had passed
	lastRead  time.Time // of at least a byte
	lastWrite time.Time // likewise, or since the socket has been full
}

func (s *fakeSocket) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *fakeSocket) read(m memory) (int, error) {
	if s.t == nil { // m may be gws's memory
		all := s.p.w.e.registry.all()
		s.t = &all[slices.IndexFunc(all, func(c *Conn) bool { return c.sock == socket(s) })].transport
	}
	c := s.t.c
	c.mu.Lock()
	done := c.readDone
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.reading:
		s.fault("two goroutines read")
	case s.parked:
		s.fault("a read of a parked connection")
	case done || s.readOver:
		s.fault("a read after the end of reading (readDone: %v)", done)
	}
	s.reading = true
	defer func() { s.reading = false }()
	for {
		if s.nudged && s.closes == 0 {
			return 0, os.ErrDeadlineExceeded
		}
		b := m.lend(1 << 20)
		if s.closes == 0 && len(s.in) > 0 {
			n := copy(b[:1+s.rnd.IntN(len(b))], s.in)
			s.in = s.in[n:]
			s.lastRead = time.Now()
			s.pauseLocked()
			return n, nil
		}
		m.giveBack()
		if s.t.buf != nil {
			s.fault("memory is held while waiting")
		}
		if s.closes > 0 || s.inEnd != nil {
			s.readOver = true
			if s.closes > 0 {
				return 0, net.ErrClosed
			}
			return 0, s.inEnd
		}
		s.waits = true
		s.moved.Wait()
		s.waits = false
	}
}

// pauseLocked lets others overtake, now and then.
func (s *fakeSocket) pauseLocked() {
	if s.rnd.IntN(3) == 0 {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
}

func (s *fakeSocket) Write(bufs [][]byte, wait bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.writing:
		s.fault("two goroutines write")
	case s.writeOver:
		s.fault("a write after one that failed")
	case s.out.closed:
		s.fault("a write after the close frame")
	case s.halfClose > 0:
		s.fault("a write after closeWrite")
	}
	s.writing = true
	defer func() { s.writing = false }()
	s.pauseLocked()
	for s.held && s.closes == 0 {
		s.moved.Wait()
	}
	for {
		if s.closes > 0 || s.outErr != nil {
			s.writeOver = true
			return 0, errors.Join(net.ErrClosed, s.outErr)
		}
		if n := s.takeLocked(bufs); n > 0 || !wait {
			s.pauseLocked()
			return n, nil
		}
		s.moved.Wait()
	}
}

// takeLocked takes what there is room for, and sometimes less.
func (s *fakeSocket) takeLocked(bufs [][]byte) int {
	all := bytes.Join(bufs, nil)
	if s.room >= 0 {
		all = all[:min(s.room, len(all))]
	}
	if len(all) > 0 && s.rnd.IntN(4) == 0 {
		all = all[:1+s.rnd.IntN(len(all))]
	}
	if s.room > 0 {
		s.room -= len(all)
	}
	if len(all) == 0 {
		return 0
	}
	s.lastWrite = time.Now()
	if err := s.out.take(all); err != nil {
		s.fault("on the wire: %v", err)
	}
	if s.polite && s.out.closed {
		s.endLocked(io.EOF)
	}
	return len(all)
}

func (s *fakeSocket) Await(q *backpressure.Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awaited {
		s.fault("awaited twice")
	}
	s.awaited = true
	s.p.w.e.goroutines.spawn(func() {
		s.mu.Lock()
		for s.loop && s.room == 0 && s.outErr == nil && s.closes == 0 {
			s.moved.Wait()
		}
		s.awaited = false
		s.mu.Unlock()
		q.Resume(!s.loop)
	})
}

func (s *fakeSocket) unsent() (n, lost int) { return 0, 0 }
func (s *fakeSocket) unread() bool          { return false }

// setReadDeadline is for parking: relieving the budget interrupts, too, but no step of
// the model uses that up.
func (s *fakeSocket) setReadDeadline(t time.Time) error {
	s.change(func() { s.nudged = !t.IsZero() })
	return nil
}

func (s *fakeSocket) parks() bool { return true }

func (s *fakeSocket) park(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closes > 0:
		return false
	case s.parked, s.reading:
		s.fault("parked while parked (%v) or read", s.parked)
	case s.t.buf != nil:
		s.fault("memory is held while parked")
	}
	s.parked = true
	s.parkings++
	c.e.goroutines.spawn(func() {
		s.mu.Lock()
		for s.closes == 0 && len(s.in) == 0 && s.inEnd == nil {
			s.moved.Wait()
		}
		s.parked = false
		s.mu.Unlock()
		c.unpark()
	})
	s.pauseLocked()
	return true
}

func (s *fakeSocket) closeWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halfClose++; s.halfClose > 1 || s.writing {
		s.fault("closeWrite for the %dth time, or during a write (%v)", s.halfClose, s.writing)
	}
	if s.polite {
		s.endLocked(io.EOF)
	}
	return nil
}

func (s *fakeSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closes++; s.closes > 1 {
		s.fault("closed %d times", s.closes)
	}
	s.mid = s.reading || s.writing || !s.out.closed && s.inEnd == nil
	s.overdue = s.overdue || s.overdueLocked()
	s.moved.Broadcast()
	return nil
}

// overdueLocked reports whether a timeout may have cut it short.
func (s *fakeSocket) overdueLocked() bool {
	cfg := &s.p.w.e.cfg
	return time.Since(s.lastRead) >= cfg.IdleTimeout-coarse || time.Since(s.lastWrite) >= cfg.WriteStallTimeout-coarse
}

// arriveLocked brings what the peer has sent.
func (s *fakeSocket) arriveLocked() {
	s.in = append(s.in, s.sent...)
	s.sent = nil
}

func (s *fakeSocket) endLocked(err error) {
	s.arriveLocked()
	if s.inEnd == nil {
		s.inEnd = err
	}
	s.moved.Broadcast()
}

// change changes the peer's side.
func (s *fakeSocket) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.moved.Broadcast()
}

// received is what a peer makes of the bytes that it is sent.
type received struct {
	began   bool // the preface has come
	raw     []byte
	current frame.Opcode // of the message under way
	payload []byte
	texts   int // answers to refusals
	list    []note
	pongs   []string
	closed  bool
	code    frame.CloseCode
}

func (r *received) take(b []byte) error {
	r.raw = append(r.raw, b...)
	if !r.began {
		if len(r.raw) < len(preface) {
			return nil
		}
		if string(r.raw[:len(preface)]) != preface {
			return errors.New("the response does not come first")
		}
		r.began = true
		r.raw = r.raw[len(preface):]
	}
	for {
		scanner := frame.NewScanner(&frame.Rules{})
		if r.current != 0 { // put it inside a message
			_, _, _, _ = scanner.Next([]byte{byte(r.current), 0})
		}
		h, n, ok, err := scanner.Next(r.raw)
		if err != nil {
			return err
		}
		if !ok || len(r.raw) < n+int(h.Length) {
			return nil
		}
		if err := r.frame(h, r.raw[n:n+int(h.Length)]); err != nil {
			return err
		}
		r.raw = r.raw[n+int(h.Length):]
	}
}

func (r *received) frame(h frame.Header, payload []byte) (err error) {
	switch h.Opcode {
	case frame.Close:
		r.closed = true
		r.code, _, err = frame.ParseClose(payload)
		return err
	case frame.Ping:
	case frame.Pong:
		r.pongs = append(r.pongs, string(payload))
	default:
		if h.Opcode != frame.Continuation {
			r.current = h.Opcode
		}
		r.payload = append(r.payload, payload...)
		if h.Fin {
			err = r.message()
			r.current, r.payload = 0, nil
		}
	}
	return err
}

func (r *received) message() error {
	if r.current == frame.Text {
		r.texts++
		return nil
	}
	n, err := parseNote(r.payload)
	r.list = append(r.list, n)
	return err
}

// A note is what the program sends: who, and the how manieth of that sender.
type note struct{ sender, seq uint32 }

// handlerSender and waitingSender+n send whenever they can; others in the step
// that is their number.
const (
	handlerSender = 1 << 20
	waitingSender = 1 << 21
)

func (n note) payload(size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, n.sender)
	b = binary.BigEndian.AppendUint32(b, n.seq)
	for i := range size {
		b = append(b, byte(int(n.seq)+i))
	}
	return b
}

func parseNote(b []byte) (n note, err error) {
	if len(b) < 8 {
		return n, fmt.Errorf("a message of %d bytes", len(b))
	}
	n = note{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	if !bytes.Equal(b, n.payload(len(b)-8)) {
		return n, errors.New("a message with other bytes than were sent")
	}
	return n, nil
}

// A world is an engine and the connections that a run has made.
type world struct {
	t    *testing.T
	rnd  *rand.Rand
	e    *Engine
	eps  []*endpoint
	all  []*party
	log  []string
	wg   sync.WaitGroup // goroutines of operations that wait
	free bool           // handlers no longer block

	slept     time.Duration // in all
	disturbed time.Duration // likewise, when a write last took its time

	mu      sync.Mutex
	busy    int // callbacks on workers
	blocked int // of them, those that wait for their gate
	faults  []string
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 2))}
	pick := func(of ...int) int { return of[w.rnd.IntN(len(of))] }
	cfg := Config{
		IO:              IOGoroutines, // epoll knows no virtual time
		MaxMessageBytes: pick(2<<10, 40<<10),
		SendChunkBytes:  pick(125, 1000, 64<<10),
		HighWaterBytes:  pick(1000, 10_000, 1<<20),
		CorkBytes:       pick(500, 16<<10),
		ReadBufferBytes: smallestBuffer,
		InboxMessages:   pick(1, 2, 50),
		Workers:         pick(1, 2, 4),
		MinReceiveRate:  -1, // parties stop in the middle of a message
		CountBuffers:    true,
		Logger:          slog.New(slog.DiscardHandler),
	}
	if w.rnd.IntN(4) == 0 {
		cfg.SendClass = &backpressure.Class{Overflow: backpressure.Disconnect, Code: frame.ClosePolicyViolation}
	}
	if w.rnd.IntN(3) == 0 {
		cfg.Interceptors = []interceptors.Interceptor{pingWatch{}}
	}
	e, err := New(cfg, Endpoint{})
	require.NoError(t, err)
	e.bulkFrom = int64(pick(smallMessage+1, 20_000, bulkFrom))
	w.e = e
	h := w.handler()
	if w.rnd.IntN(2) == 0 {
		h.OnDrain = nil
	}
	pull := h
	pull.OnMessage = nil
	w.eps = []*endpoint{
		e.newEndpoint(Endpoint{Handler: h}),
		e.newEndpoint(Endpoint{Handler: h, Inline: true}),
		e.newEndpoint(Endpoint{Handler: pull}),
	}
	return w
}

// pingWatch notes pings in the order in which the chain is shown them.
type pingWatch struct{ interceptors.Passthrough }

func (pingWatch) InterceptInbound(ctx context.Context, in Message, next *interceptors.InboundNext) error {
	if p := partyOf(FromContext(ctx)); in.Type == frame.Ping {
		p.locked(func() { p.seen = append(p.seen, string(in.Data)) })
	}
	return next.Run(ctx, in)
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// A party is the model of one connection, the peer included.
type party struct {
	w      *world
	n      int
	ep     *endpoint
	s      *fakeSocket
	opens  command // what OnOpen does
	closes command // what OnClose does

	// of the steps
	ended  bool   // the peer sends nothing more that counts
	buffer []byte // the peer sends it next
	bytes  int    // that the peer has sent, and put into buffer
	sends  []sent
	pings  []string

	// of the checks
	heldOnce     bool // a write has taken its time
	written      uint64
	blockedSince int64

	mu       sync.Mutex
	c        *Conn
	gate     chan struct{} // handlers that block wait for it
	events   []byte        // O, M, D, C
	inside   int           // callbacks
	waiting  int           // of them, at the gate
	handled  []uint32
	seen     []string // pings, by the chain
	replies  uint32
	accepted map[uint32][]uint32 // by sender, its messages
	sending  map[uint32]uint32   // by sender, the one that has not returned
	refusals int
	drains   int  // OnDrain is to come so many times, at least
	behind   int  // functions given to Go
	streams  int  // SendStream
	lossy    bool // something may be dropped
	own      bool // this side may have ended it
	causes   map[CloseError]bool
	cause    *CloseError
	final    *CloseError // what OnClose was given
	frozen   int         // messages handled when the end had begun; -1: it has not
}

// sent is a message of the peer: complete when so many bytes have been sent.
type sent struct {
	seq uint32
	at  int
}

func (p *party) locked(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// may says what the cause of the end may be from now on.
func (p *party) may(code frame.CloseCode, reason string, remote bool) {
	p.locked(func() { p.causes[CloseError{Code: code, Reason: reason, Remote: remote}] = true })
}

// ends is may for an end by this side, that drops what has been received.
func (p *party) ends(code frame.CloseCode, reason string) {
	p.may(code, reason, false)
	p.locked(func() { p.own = true })
}

type partyKey struct{}

func partyOf(c *Conn) *party {
	p, _ := c.Get(partyKey{}).(*party)
	return p
}

// connect makes a connection.
func (w *world) connect() {
	p := w.party()
	w.wg.Go(p.start)
	synctest.Wait()
}

func (w *world) party() *party {
	p := &party{
		w: w, n: len(w.all), ep: w.eps[w.rnd.IntN(3)],
		opens:  []command{doNone, doNone, doNone, doEcho, doEchoLarge, doFail, doPanics, doExits, doCloses, doBackground}[w.rnd.IntN(10)],
		closes: []command{doNone, doNone, doPanics, doExits, doEcho}[w.rnd.IntN(5)],
		gate:   make(chan struct{}), accepted: map[uint32][]uint32{}, sending: map[uint32]uint32{}, causes: map[CloseError]bool{}, frozen: -1,
	}
	s := &fakeSocket{p: p, loop: w.rnd.IntN(2) == 0, rnd: rand.New(rand.NewPCG(w.rnd.Uint64(), 3)), room: -1, lastRead: time.Now(), lastWrite: time.Now()}
	s.moved = sync.NewCond(&s.mu)
	p.s = s
	if w.free {
		close(p.gate)
	}
	if w.rnd.IntN(4) == 0 {
		p.peerMessages(w.rnd)
		n := min(len(p.buffer), 4<<10) // what net/http may have read beyond the request
		s.early, p.buffer = p.buffer[:n:n], p.buffer[n:]
	}
	w.all = append(w.all, p)
	w.note("%d connects: pool, inline, pull = %d; OnOpen %v, OnClose %v", p.n, slices.Index(w.eps, p.ep), p.opens, p.closes)
	return p
}

// start is what an upgrade ends with.
func (p *party) start() {
	p.w.e.start(p.ep, beginning{sock: p.s, early: p.s.early, response: []byte(preface), scope: scopeOf(fmt.Sprint("Party\n", p.n, "\n"))})
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// A command is what a message asks its handler to do.
type command byte

const (
	doNone command = iota
	doEcho
	doEchoLarge
	doEchoStrictly // returns the error of the send
	doBroadcast
	doBlock
	doStream
	doBackground
	doRefuse
	doFail
	doFailClosed // returns a CloseError
	doPanics
	doExits
	doCloses
	doTooBig
	commands
)

// handler does what messages say, and checks the order of events.
func (w *world) handler() Handler {
	return Handler{
		OnOpen: func(_ context.Context, c *Conn) error {
			var n int
			_, _ = fmt.Sscan(c.Scope().Header("Party"), &n)
			p := w.all[n]
			c.Set(partyKey{}, p)
			p.locked(func() { p.c = c })
			defer p.enter('O')()
			if p.ep.pull {
				p.spawn(func(context.Context) { p.receiveAll() })
			}
			return p.do(c.Context(), p.opens)
		},
		OnMessage: func(ctx context.Context, c *Conn, m Message) error {
			p := partyOf(c)
			defer p.enter('M')()
			return p.handle(ctx, m)
		},
		OnDrain: func(c *Conn) { partyOf(c).enter('D')() },
		OnClose: func(c *Conn, err *CloseError) {
			p := partyOf(c)
			defer p.enter('C')()
			p.locked(func() {
				p.final = err
				if p.behind > 0 {
					w.fault("%d: OnClose before %d functions given to Go have returned", p.n, p.behind)
				}
			})
			if c.Context().Err() == nil {
				w.fault("%d: OnClose before the context's end", p.n)
			}
			_ = p.do(c.Context(), p.closes)
		},
	}
}

// enter checks that a callback may run; what it returns runs when it ends.
func (p *party) enter(kind byte) (leave func()) {
	alone := kind != 'D' || !p.ep.inline
	worker := kind != 'O' && !(kind == 'M' && p.ep.inline)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case kind == 'O' && len(p.events) > 0, kind != 'O' && len(p.events) == 0, slices.Contains(p.events, 'C'):
		p.w.fault("%d: %c after %s", p.n, kind, p.events)
	case alone && p.inside > 0:
		p.w.fault("%d: %c while another callback runs", p.n, kind)
	}
	p.events = append(p.events, kind)
	p.inside += count(alone)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.busy += count(worker); p.w.busy > p.w.e.cfg.Workers {
		p.w.faults = append(p.w.faults, "more callbacks than workers")
	}
	return func() {
		p.locked(func() { p.inside -= count(alone) })
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.w.busy -= count(worker)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// receiveAll is a receiver: it handles what it receives itself.
func (p *party) receiveAll() {
	for {
		m, err := p.c.Receive(context.Background())
		if err != nil {
			if cause := p.c.closeError(); err != cause {
				p.w.fault("%d: Receive returned %v, the cause is %v", p.n, err, cause)
			}
			return
		}
		if err := p.handle(p.c.Context(), m); err != nil {
			p.c.outcome(err)
		}
	}
}

func (p *party) handle(ctx context.Context, m Message) error {
	if len(m.Data) < 5 {
		p.w.fault("%d: a message that was not sent: %x", p.n, m.Data)
		return nil
	}
	seq := binary.BigEndian.Uint32(m.Data)
	p.locked(func() { p.handled = append(p.handled, seq) })
	for i, b := range m.Data[5:] {
		if b != byte(int(seq)+i) {
			p.w.fault("%d: message %d has come with other bytes", p.n, seq)
			break
		}
	}
	return p.do(ctx, command(m.Data[4]))
}

// do carries out a command inside a callback.
func (p *party) do(ctx context.Context, what command) error {
	c := p.c
	internal := func() { p.ends(frame.CloseInternalError, "internal error") }
	switch what {
	case doEcho:
		_ = p.send(handlerSender, 20, c.SendBytes)
	case doEchoLarge:
		_ = p.send(handlerSender, 1900, c.SendBytes)
	case doEchoStrictly:
		p.may(frame.CloseTryAgainLater, "congested", false)
		err := p.send(handlerSender, 500, c.SendBytes)
		p.locked(func() { p.own = p.own || err != nil })
		return err
	case doBroadcast:
		_ = p.send(handlerSender, 100, func(b []byte) error { return p.broadcast(ctx, b) })
	case doBlock:
		p.wait()
	case doStream:
		p.spawn(func(ctx context.Context) { p.stream(ctx) })
	case doBackground:
		p.spawn(func(ctx context.Context) { p.waitFor(ctx.Done()) })
	case doRefuse:
		p.locked(func() { p.refusals++ })
		return interceptors.Refuse(403, "no")
	case doFail:
		internal()
		return errors.New("failed")
	case doFailClosed:
		p.ends(4000, "by error")
		return &CloseError{Code: 4000, Reason: "by error"}
	case doPanics:
		internal()
		panic("as asked")
	case doExits:
		internal()
		runtime.Goexit()
	case doCloses:
		p.ends(4001, "by handler")
		_ = c.Close(4001, "by handler")
	case doTooBig:
		p.ends(frame.CloseMessageTooBig, "outbound message too big")
		return c.SendBytes(make([]byte, p.w.e.cfg.MaxMessageBytes+1))
	}
	return nil
}

// send sends the next message of a sender and keeps whether it was taken.
func (p *party) send(sender uint32, size int, by func([]byte) error) error {
	if code := p.w.e.cfg.SendClass.Code; code != 0 {
		p.locked(func() { p.causes[CloseError{Code: code, Reason: "outbound queue overflow"}] = true })
	}
	var seq uint32
	drained := 0
	p.locked(func() {
		p.replies++
		seq = p.replies
		p.sending[sender] = seq
		drained = bytes.Count(p.events, []byte("D"))
	})
	b := note{sender, seq}.payload(size)
	err := by(b)
	clear(b) // it may be reused
	p.locked(func() {
		delete(p.sending, sender)
		switch {
		case err == nil:
			p.accepted[sender] = append(p.accepted[sender], seq)
		case p.w.e.cfg.SendClass.Code != 0:
			p.own, p.lossy = true, true
		case err == ErrCongested:
			p.drains = max(p.drains, drained+1)
		}
	})
	return err
}

func (p *party) broadcast(ctx context.Context, b []byte) error {
	m, err := p.w.e.Prepare(frame.Binary, b)
	if err != nil {
		return err
	}
	switch Broadcast(ctx, slices.Values([]*Conn{p.c}), m) {
	case Tally{Queued: 1}:
		return nil
	case Tally{Congested: 1}:
		return ErrCongested
	}
	return net.ErrClosed
}

// spawn is Conn.Go with accounts.
func (p *party) spawn(fn func(context.Context)) {
	err := p.c.Go(func(ctx context.Context) {
		defer p.locked(func() { p.behind-- })
		fn(ctx)
	})
	if err == nil { // counted no sooner: one that is refused may be overtaken by OnClose
		p.locked(func() { p.behind++ })
	}
}

// wait waits until the model says so.
func (p *party) wait() {
	p.locked(func() { p.waiting++ })
	p.w.mu.Lock()
	p.w.blocked++
	p.w.mu.Unlock()
	p.waitFor(nil)
	p.w.mu.Lock()
	p.w.blocked--
	p.w.mu.Unlock()
	p.locked(func() { p.waiting-- })
}

func (p *party) waitFor(done <-chan struct{}) {
	var gate chan struct{}
	p.locked(func() { gate = p.gate })
	select {
	case <-gate:
	case <-done:
	}
}

// open lets those go who wait.
func (p *party) open() {
	p.locked(func() {
		close(p.gate)
		if p.gate = make(chan struct{}); p.w.free {
			close(p.gate)
		}
	})
}

// A partSource is a stream's reader: pieces, then what end says.
type partSource struct {
	p    *party
	rest []byte
	end  error
}

func (r *partSource) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, r.end
	}
	if len(r.rest)%3 == 0 {
		r.p.waitFor(r.p.c.Context().Done())
	}
	n := copy(b[:min(len(b), 700)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (p *party) stream(ctx context.Context) {
	var sender uint32
	end := io.EOF
	p.locked(func() {
		p.streams++
		sender = waitingSender + p.replies
		if p.replies%4 == 0 {
			end = errors.New("source failed")
		}
	})
	p.may(frame.CloseInternalError, "stream failed", false)
	p.may(frame.CloseInternalError, "stream stalled", false)
	p.may(frame.CloseGoingAway, "stream cancelled", false)
	err := p.send(sender, 1800, func(b []byte) error {
		return p.c.SendStream(ctx, frame.Binary, &partSource{p: p, rest: bytes.Clone(b), end: end})
	})
	p.locked(func() {
		p.streams--
		p.lossy = p.lossy || err != nil
		p.own = p.own || err != nil
	})
}

// step does one to three things at once.
func (w *world) step(i int) {
	if w.rnd.IntN(2) == 0 {
		for _, p := range w.all {
			p.s.change(func() { p.s.held = false })
		}
	}
	for j := range 1 + w.rnd.IntN(3) {
		p := w.all[w.rnd.IntN(len(w.all))]
		name, act := w.operation(p, uint32(8*i+j))
		w.note("%d: %d %s", i, p.n, name)
		w.wg.Go(act)
	}
	if w.rnd.IntN(10) == 0 {
		d := []time.Duration{2 * time.Millisecond, time.Second, 7 * time.Second, 12 * time.Second, 40 * time.Second, 80 * time.Second}[w.rnd.IntN(6)]
		w.note("%d: %v pass", i, d)
		w.pass(d)
	}
	if len(w.all) < 10 && w.rnd.IntN(8) == 0 {
		w.connect()
	}
}

// pass lets time pass, and looks at the timeouts every second.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		time.Sleep(min(d, time.Second))
		w.slept += min(d, time.Second)
		synctest.Wait()
		for _, p := range w.all {
			if p.s.mu.Lock(); p.s.held {
				w.disturbed = w.slept
			}
			p.s.mu.Unlock()
		}
		for _, p := range w.all {
			if p.c != nil {
				p.checkTime(w.slept-w.disturbed > slack)
			}
		}
	}
}

// operation chooses something to happen to a connection.
func (w *world) operation(p *party, sender uint32) (string, func()) {
	switch k := w.rnd.IntN(100); {
	case k < 40:
		return p.peerOperation(w.rnd)
	case k < 60:
		return p.peerNetwork(w.rnd)
	case k < 95 && p.c != nil:
		return p.programOperation(w.rnd, sender)
	case p.c != nil && w.rnd.IntN(3) == 0:
		return p.engineOperation(w.rnd)
	}
	return "opens the gate", p.open
}

// peerOperation has the peer put frames into its buffer, and send some of it.
func (p *party) peerOperation(rnd *rand.Rand) (name string, act func()) {
	name = "sends"
	if !p.ended {
		switch k := rnd.IntN(40); {
		case k == 0:
			name = p.peerClose(rnd)
		case k == 1:
			name = p.peerViolation(rnd)
		case k < 6:
			p.peerPing(rnd)
		default:
			p.peerMessages(rnd)
		}
	}
	some := p.buffer
	if rnd.IntN(3) == 0 {
		some = some[:rnd.IntN(len(some)+1)]
	}
	p.buffer = p.buffer[len(some):]
	p.s.change(func() { p.s.sent = append(p.s.sent, some...) })
	return fmt.Sprintf("%s %d bytes", name, len(some)), func() { p.s.change(p.s.arriveLocked) }
}

func (p *party) put(h frame.Header, payload []byte) {
	h.Masked, h.Length = true, int64(len(payload))
	h.Mask = [4]byte{byte(len(payload)), 7, 0xA5, byte(p.bytes)}
	at := len(p.buffer)
	p.buffer = frame.AppendHeader(p.buffer, h)
	for i, b := range payload {
		p.buffer = append(p.buffer, b^h.Mask[i%4])
	}
	p.bytes += len(p.buffer) - at
}

func (p *party) peerMessages(rnd *rand.Rand) {
	for range 1 + rnd.IntN(1+rnd.IntN(80)) {
		what := []command{doNone, doEcho, doEcho, doEcho, doBroadcast}[rnd.IntN(5)]
		if rnd.IntN(15) == 0 {
			what = command(rnd.IntN(int(commands)))
		}
		if p.w.free && what == doBlock {
			what = doNone
		}
		size := rnd.IntN(30)
		if rnd.IntN(20) == 0 {
			size = rnd.IntN(p.w.e.cfg.MaxMessageBytes - 5)
		}
		seq := uint32(len(p.sends))
		b := append(binary.BigEndian.AppendUint32(nil, seq), byte(what))
		for i := range size {
			b = append(b, byte(int(seq)+i))
		}
		op := frame.Binary
		for rnd.IntN(4) == 0 {
			n := rnd.IntN(len(b) + 1)
			p.put(frame.Header{Opcode: op}, b[:n])
			b, op = b[n:], frame.Continuation
			if rnd.IntN(3) == 0 {
				p.peerPing(rnd)
			}
		}
		p.put(frame.Header{Opcode: op, Fin: true}, b)
		p.sends = append(p.sends, sent{seq, p.bytes})
	}
}

func (p *party) peerPing(*rand.Rand) {
	payload := fmt.Sprint("ping ", len(p.pings))
	p.pings = append(p.pings, payload)
	p.put(frame.Header{Opcode: frame.Ping, Fin: true}, []byte(payload))
}

func (p *party) peerClose(rnd *rand.Rand) string {
	if rnd.IntN(2) == 0 {
		p.peerMessages(rnd) // to arrive together
	}
	p.ended = true
	code := []frame.CloseCode{0, frame.CloseNormal, 4999, frame.CloseBadGateway}[rnd.IntN(4)]
	if code == 0 {
		p.may(frame.CloseNoStatus, "", true)
		p.put(frame.Header{Opcode: frame.Close, Fin: true}, nil)
	} else {
		p.may(code, "peer", true)
		p.put(frame.Header{Opcode: frame.Close, Fin: true}, frame.AppendClose(nil, code, "peer"))
	}
	if rnd.IntN(2) == 0 { // what follows a close frame is ignored (RFC 6455 §5.5.1)
		p.put(frame.Header{Opcode: frame.Binary, Fin: true}, []byte("after the close"))
	}
	return fmt.Sprintf("closes with %d,", code)
}

// peerViolation breaks a rule, by a header or by a payload.
func (p *party) peerViolation(rnd *rand.Rand) string {
	p.ended = true
	k := rnd.IntN(9)
	switch k {
	case 0:
		p.put(frame.Header{Opcode: 3, Fin: true}, nil)
	case 1:
		p.put(frame.Header{Opcode: frame.Binary, RSV: frame.RSV1, Fin: true}, nil)
	case 2:
		p.put(frame.Header{Opcode: frame.Continuation, Fin: true}, nil)
	case 3:
		p.put(frame.Header{Opcode: frame.Ping}, nil)
	case 4:
		p.buffer = append(p.buffer, 0x82, 0) // not masked
		p.bytes += 2
	case 5:
		p.put(frame.Header{Opcode: frame.Close, Fin: true}, []byte{0x03, 0xED}) // 1005
	case 6:
		p.put(frame.Header{Opcode: frame.Text, Fin: true}, []byte{0xFF})
	case 7:
		p.put(frame.Header{Opcode: frame.Close, Fin: true}, []byte{0x03, 0xE8, 0xFF})
	case 8:
		h := frame.Header{Opcode: frame.Binary, Masked: true, Length: int64(p.w.e.cfg.MaxMessageBytes) + 1}
		p.buffer = frame.AppendHeader(p.buffer, h)
		p.bytes += h.Size()
	}
	p.locked(func() {
		p.own = true // what came before is dropped
		code := frame.CloseProtocolError
		switch k {
		case 6, 7:
			code = frame.CloseInvalidPayload
		case 8:
			code = frame.CloseMessageTooBig
		}
		p.causes[CloseError{Code: code}] = true // with any reason
	})
	return fmt.Sprintf("breaks rule %d,", k)
}

// peerNetwork changes what the peer takes, or ends the connection.
func (p *party) peerNetwork(rnd *rand.Rand) (name string, act func()) {
	s := p.s
	set := func(f func()) func() { return func() { s.change(f) } }
	switch k := rnd.IntN(40); {
	case k == 0:
		p.peerEnd()
		return "EOF", set(func() { s.endLocked(io.EOF) })
	case k == 1:
		p.peerEnd()
		return "reset", set(func() { s.endLocked(syscall.ECONNRESET) })
	case k == 2:
		p.may(frame.CloseAbnormal, "write failed", true)
		p.locked(func() { p.own = true })
		return "writes fail", set(func() { s.outErr = syscall.EPIPE })
	case k < 12:
		return "stalls", set(func() { s.room = 0 })
	case k < 20:
		n := rnd.IntN(3000)
		return fmt.Sprintf("takes %d bytes", n), set(func() { s.room = n })
	case k < 24:
		return "a write takes its time", set(func() { s.held = true })
	case k < 30:
		return "answers the close frame", set(func() {
			if s.out.closed {
				s.endLocked(io.EOF)
			}
		})
	}
	return "reads", set(func() { s.room, s.held, s.lastWrite = -1, false, time.Now() })
}

// peerEnd: what the peer has not sent yet is never sent.
func (p *party) peerEnd() {
	p.ended = true
	p.bytes -= len(p.buffer)
	p.buffer = nil
	p.may(frame.CloseAbnormal, "peer is gone", true)
}

// programOperation is what a program does from outside of callbacks.
func (p *party) programOperation(rnd *rand.Rand, sender uint32) (name string, act func()) {
	c := p.c
	limited := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), time.Minute)
	}
	k, size, times := rnd.IntN(20), rnd.IntN(200), 1+rnd.IntN(5)
	if rnd.IntN(4) == 0 {
		size = rnd.IntN(1900)
	}
	switch {
	case k < 8:
		return "is sent to", func() {
			for range times {
				_ = p.send(sender, size, c.SendBytes)
			}
		}
	case k < 11:
		return "is sent to by waiting", func() {
			ctx, cancel := limited()
			defer cancel()
			_ = p.send(waitingSender+1<<10+sender, size, func(b []byte) error { return c.SendWait(ctx, frame.Binary, b) })
		}
	case k < 13:
		return "is drained", func() {
			ctx, cancel := limited()
			defer cancel()
			_ = c.Drain(ctx, size)
		}
	case k < 15:
		return "is broadcast to", func() {
			_ = p.send(sender, size, func(b []byte) error { return p.broadcast(context.Background(), b) })
		}
	case k == 15:
		return "gets a stream", func() { p.spawn(p.stream) }
	case k == 16:
		return "gets a function", func() {
			p.spawn(func(ctx context.Context) { p.waitFor(ctx.Done()) })
		}
	case k == 17:
		return "is pinged and asked", func() {
			_ = c.Ping([]byte("x"))
			_ = c.PendingBytes()
			_ = p.w.e.Stats()
			c.Flush()
		}
	case k == 18 && rnd.IntN(3) == 0:
		reason := fmt.Sprint("close ", sender)
		p.ends(4002, reason)
		return "is closed", func() { p.closeChecked(reason) }
	}
	return "opens the gate", p.open
}

// closeChecked: either this Close is the cause, or it returns what is.
func (p *party) closeChecked(reason string) {
	before := p.c.closeError()
	err := p.c.Close(4002, reason)
	cause := p.c.closeError()
	switch {
	case cause == nil, before != nil && before != cause:
		p.w.fault("%d: the cause was %v before Close and is %v", p.n, before, cause)
	case (err == nil) != (cause.Reason == reason), err != nil && err != cause:
		p.w.fault("%d: Close returned %v, the cause is %v", p.n, err, cause)
	}
}

// engineOperation ends a connection as shutdown does, in good order or not.
func (p *party) engineOperation(rnd *rand.Rand) (name string, act func()) {
	if rnd.IntN(2) == 0 {
		p.ends(frame.CloseGoingAway, "finish")
		return "is finished", func() { p.c.finish(&CloseError{Code: frame.CloseGoingAway, Reason: "finish"}) }
	}
	p.ends(frame.CloseAbnormal, "abort")
	p.locked(func() { p.lossy = true })
	return "is aborted", func() { p.c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "abort"}) }
}

// check compares everything that can be observed with the model, when nothing
// moves any more.
func (w *world) check() {
	quiet, idle := true, true
	for _, p := range w.all {
		p.s.mu.Lock()
		quiet = quiet && !p.s.held
		p.s.mu.Unlock()
	}
	if !quiet { // the sweeper may be among those who wait
		w.disturbed = w.slept
	}
	for _, p := range w.all {
		p.checkOrder()
		if p.c == nil {
			continue
		}
		p.checkCause()
		p.checkBounds()
		if quiet {
			p.checkProgress()
			p.checkTime(w.slept-w.disturbed > slack)
			idle = p.atRest() && idle
		}
	}
	if out := w.e.pool.Out(); quiet && idle && out != 0 {
		w.fault("%d buffers are held by connections at rest", out)
	}
	x := w.e.executor
	x.mu.Lock()
	if quiet && (x.head != nil && x.running < x.limit || x.starting || x.lingering) {
		w.fault("a connection waits for a worker; %d run", x.running)
	}
	x.mu.Unlock()
	w.report()
}

func (w *world) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		w.t.Error(f)
	}
	w.faults = nil
	for _, p := range w.all {
		p.s.mu.Lock()
		for _, f := range p.s.faults {
			w.t.Errorf("%d: socket: %s", p.n, f)
		}
		p.s.faults = nil
		p.s.mu.Unlock()
	}
}

// complete is how many messages the peer has sent to the end.
func (p *party) complete() int {
	sent := p.bytes - len(p.buffer)
	n := 0
	for n < len(p.sends) && p.sends[n].at <= sent {
		n++
	}
	return n
}

// checkOrder: what has been handled and what is on the wire begin as what was sent.
func (p *party) checkOrder() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for i, seq := range p.handled {
		if int(seq) != i {
			p.w.fault("%d: message %d was handled as the %dth", p.n, seq, i)
			break
		}
	}
	if n := p.complete(); len(p.handled) > n {
		p.w.fault("%d: %d messages handled, %d sent", p.n, len(p.handled), n)
	}
	out, got, last := &p.s.out, map[uint32]int{}, uint32(0)
	for _, n := range out.list {
		of := p.accepted[n.sender]
		if i := got[n.sender]; i >= len(of) && p.sending[n.sender] == n.seq {
			// its sender writes for others before it returns
		} else if i >= len(of) || of[i] != n.seq {
			p.w.fault("%d: on the wire is %v, of its sender %v were taken, and %d have come", p.n, n, of, i)
			break
		}
		got[n.sender]++
		if n.sender < handlerSender {
			if !p.heldOnce && n.sender/8 < last {
				p.w.fault("%d: a message of step %d behind one of step %d", p.n, n.sender/8, last)
			}
			last = n.sender / 8
		}
	}
	p.heldOnce = p.heldOnce || p.s.held
	if p.c == nil {
		return
	}
	if cause := p.c.closeError(); cause != nil && cause.Reason == "outbound queue overflow" { // of whichever sender, a refusal's answer among them
		p.lossy = true
	}
	for sender, of := range p.accepted {
		if out.closed && !p.lossy && got[sender] != len(of) {
			p.w.fault("%d: of sender %d %d messages were taken, %d are before the close frame", p.n, sender, len(of), got[sender])
		}
	}
	if !isSubsequence(out.pongs, p.pings) || !isSubsequence(p.seen, p.pings) || out.texts > p.refusals {
		p.w.fault("%d: answered pings %v, shown %v; %d refusals of %d", p.n, out.pongs, p.seen, out.texts, p.refusals)
	}
}

func isSubsequence(part, whole []string) bool {
	for _, s := range whole {
		if len(part) > 0 && part[0] == s {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// checkCause: the first cause is one of those that there were, and stays.
func (p *party) checkCause() {
	cause := p.c.closeError()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	now := time.Now()
	// The sweeper moves the clock, so it stands while the sweeper is in a write that
	// takes its time (which no real socket's does).
	clockStood := p.w.disturbed > 0 && p.w.slept-p.w.disturbed < p.w.e.cfg.IdleTimeout
	if cause != p.cause {
		switch {
		case p.cause != nil:
			p.w.fault("%d: the cause was %v and is %v", p.n, p.cause, cause)
		case p.causes[CloseError{Code: cause.Code, Reason: cause.Reason, Remote: cause.Remote}], !cause.Remote && p.causes[CloseError{Code: cause.Code}]:
		case cause.Reason == "idle timeout" && now.Sub(p.s.lastRead) >= p.w.e.cfg.IdleTimeout-coarse,
			(cause.Reason == "idle timeout" || cause.Reason == "write stalled") && clockStood,
			cause.Reason == "write stalled" && now.Sub(p.s.lastWrite) >= p.w.e.cfg.WriteStallTimeout-coarse:
		default:
			p.w.fault("%d: nothing causes %v", p.n, cause)
		}
		p.cause = cause
	}
	// The queue chooses the code of an overflow without knowing of an earlier cause.
	if out := &p.s.out; out.closed && (cause == nil || out.code != cause.Code && out.code != p.w.e.cfg.SendClass.Code) {
		p.w.fault("%d: the close frame says %v, the cause is %v", p.n, out.code, cause)
	}
	if p.s.mid && !p.lossy && p.s.outErr == nil && p.w.slept <= p.w.e.cfg.CloseTimeout {
		p.w.fault("%d: closed before both directions had ended", p.n)
	}
	if p.s.overdue || p.s.closes == 0 && p.s.overdueLocked() {
		p.own = true
	}
	if p.final != nil && p.final != cause {
		p.w.fault("%d: OnClose was given %v, the cause is %v", p.n, p.final, cause)
	}
	if p.final != nil && cause.Remote && !p.own && len(p.handled) != p.complete() {
		p.w.fault("%d: ended by the peer, %v; %d messages sent, %d handled", p.n, cause, p.complete(), len(p.handled))
	}
}

// checkBounds: neither queue is longer than documented.
func (p *party) checkBounds() {
	cfg := &p.w.e.cfg
	pending := p.c.queue.Pending()
	if most := cfg.HighWaterBytes + cfg.MaxMessageBytes + cfg.MaxMessageBytes/4 + 10<<10; pending > most {
		p.w.fault("%d: %d bytes pending, at most %d", p.n, pending, most)
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.c.closing.Load() {
		return
	}
	if most := cfg.InboxMessages + cfg.ReadBufferBytes/8; p.c.messages > most {
		p.w.fault("%d: %d messages wait, at most %d", p.n, p.c.messages, most)
	}
	if most := cfg.InboxBytes + cfg.MaxMessageBytes + cfg.ReadBufferBytes; p.c.bytes > most {
		p.w.fault("%d: %d bytes wait, at most %d", p.n, p.c.bytes, most)
	}
}

// checkProgress: who could go on has gone on.
func (p *party) checkProgress() {
	c, s := p.c, p.s
	pending := c.queue.Pending()
	p.w.mu.Lock()
	workersWait := p.w.blocked > 0
	p.w.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	complain := func(what string) {
		p.w.fault("%d: %s: %s", p.n, what, c.stateLocked())
	}
	if !c.opened {
		complain("not opened")
		return
	}
	waiting := p.waiting > 0
	detained := p.detainedLocked()
	writable := s.room != 0 && s.outErr == nil && s.closes == 0
	switch {
	case c.run == parked && c.wantsLocked():
		complain("wants a worker and has none")
	case c.run != parked && !workersWait && !c.ended:
		complain("is with a worker that does nothing")
	case c.paused && !c.fullLocked():
		complain("the reader waits for room that there is")
	case !detained && !c.readDone && s.closes == 0 && (len(s.in) > 0 || s.inEnd != nil):
		complain("there is something to read")
	case !detained && !c.readDone && !s.waits && !s.parked:
		complain("nobody reads")
	case s.parked != (c.reader == readerGone):
		complain("does not know whether it is parked")
	case c.busy.Load() && !detained:
		complain("the reader is busy with nothing")
	case writable && pending > 0 && !waiting && p.streams == 0:
		complain(fmt.Sprint("could be written: ", pending))
	case c.answered && writable && p.streams == 0 && !waiting && !c.writeDone:
		complain("the end has not been told")
	case s.out.closed && !c.writeDone, c.readDone && c.writeDone && s.closes == 0:
		complain("has ended, and is not closed")
	case p.ep.handler.OnDrain != nil && !c.queue.Congested() && !workersWait && !c.closing.Load() && bytes.Count(p.events, []byte("D")) < p.drains:
		complain("OnDrain is owed")
	case c.writeDone && s.closes == 0 && s.halfClose == 0:
		complain("our direction has not been shut down")
	case s.closes > 0 && (s.reading || s.writing || !c.readDone && !detained || !c.writeDone):
		complain("the socket is closed, and in use")
	case c.readDone && c.writeDone && p.behind == 0 && !workersWait && p.final == nil:
		complain("OnClose is owed")
	case p.frozen >= 0 && len(p.handled) > p.frozen:
		complain(fmt.Sprintf("%d messages were handled after its end had begun", len(p.handled)-p.frozen))
	}
	if c.closing.Load() && !p.ep.pull {
		p.frozen = len(p.handled)
	}
}

// stateLocked shows a connection to who looks for the reason of a failure.
func (c *Conn) stateLocked() string {
	return fmt.Sprintf("run %d, opened %v, noMore %v, answered %v, readDone %v, writeDone %v, ended %v, paused %v, busy %v, closing %v, messages %d, background %d, cause %v",
		c.run, c.opened, c.noMore, c.answered, c.readDone, c.writeDone, c.ended, c.paused, c.busy.Load(), c.closing.Load(), c.messages, c.background, c.cause)
}

const (
	slack  = 2 * time.Second        // by how much the sweeper may be late
	coarse = 100 * time.Millisecond // by how much its clock may be
)

// checkTime: what has lasted too long has been ended.
func (p *party) checkTime(undisturbed bool) {
	c, cfg := p.c, &p.w.e.cfg
	out := c.queue.Status()
	written, blocked := out.Written, out.Blocked
	c.mu.Lock()
	since, over, paused := c.closeSince, c.sockState != sockOpen, c.paused || c.noMore
	silent := c.restsLocked()
	c.mu.Unlock()
	now := c.e.clock.now()
	switch {
	case !blocked:
		p.blockedSince = 0 // if it is next time, it may have been for a moment only
	case !undisturbed || written != p.written || p.blockedSince == 0:
		p.blockedSince = now
	}
	p.written = written
	if !undisturbed || over {
		return
	}
	switch {
	case since != 0 && now-since > int64(cfg.CloseTimeout+slack):
		p.w.fault("%d: has been closing for %v", p.n, time.Duration(now-since))
	case blocked && now-p.blockedSince > int64(cfg.WriteStallTimeout+slack):
		p.w.fault("%d: has been stalled for %v", p.n, time.Duration(now-p.blockedSince))
	case since == 0 && !paused && !c.busy.Load() && now-c.lastRead.Load() > int64(cfg.IdleTimeout+slack):
		p.w.fault("%d: has been idle for %v", p.n, time.Duration(now-c.lastRead.Load()))
	case silent && now-c.lastRead.Load() > parkAfter+int64(slack):
		p.w.fault("%d: is not parked after %v", p.n, time.Duration(now-c.lastRead.Load()))
	}
}

// atRest: the connection has no reason to hold memory.
func (p *party) atRest() bool {
	pending := p.c.queue.Pending()
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return pending == 0 && p.waiting == 0 && p.streams == 0 && !p.c.paused && p.s.room < 0 && p.c.announced == 0
}

// end lets all come to an end, in one of three ways, and looks for what is left.
func (w *world) end() {
	kind := w.rnd.IntN(3)
	w.note("the end, of kind %d", kind)
	for _, p := range w.all {
		p.locked(func() { w.free = true })
		p.open()
		p.s.change(func() {
			p.s.held = false
			if kind == 0 {
				p.s.room, p.s.polite = -1, true
				if p.s.out.closed || p.s.halfClose > 0 {
					p.s.endLocked(io.EOF)
				}
			}
		})
		p.may(frame.CloseGoingAway, "server is shutting down", false)
		p.may(frame.CloseAbnormal, "shutdown deadline", false)
	}
	ctx, cancel := context.WithCancel(context.Background())
	switch kind {
	case 1:
		for _, p := range w.all {
			p.locked(func() { p.lossy, p.own = true, true })
		}
		ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
	case 2: // nobody does anything any more: the timeouts end all
		w.pass(4 * time.Minute)
		if n := w.e.registry.open.Load(); n != 0 {
			w.fault("%d connections have outlived all timeouts", n)
		}
	}
	defer cancel()
	w.shutdown(ctx, kind == 1)
	synctest.Wait() // for sources of streams, whose ends nobody waits for
	w.checkEnd()
	w.report()
}

func (w *world) shutdown(ctx context.Context, forced bool) {
	if w.rnd.IntN(2) == 0 {
		p := w.party() // may be too late
		p.s.polite = true
		p.may(frame.CloseGoingAway, "server is shutting down", false)
		p.may(frame.CloseAbnormal, "shutdown deadline", false)
		p.lossy = forced
		w.wg.Go(p.start)
	}
	if err := w.e.Shutdown(ctx); err != nil && !forced {
		w.fault("Shutdown returned %v", err)
	}
	if err := w.e.Shutdown(ctx); err != ErrShutdown {
		w.fault("another Shutdown returned %v", err)
	}
	w.wg.Wait()
}

// checkEnd: each connection was closed once, and nothing is left.
func (w *world) checkEnd() {
	for _, p := range w.all {
		p.checkOrder()
		if p.s.closes != 1 {
			w.fault("%d: the socket was closed %d times", p.n, p.s.closes)
		}
		if p.c == nil {
			if len(p.events) > 0 {
				w.fault("%d: was refused, and has seen %s", p.n, p.events)
			}
			continue
		}
		p.checkCause()
		n := bytes.Count(p.events, []byte("C"))
		if n != 1 || p.events[len(p.events)-1] != 'C' || p.behind != 0 || p.inside != 0 {
			w.fault("%d: events are %s, %d functions and %d callbacks run", p.n, p.events, p.behind, p.inside)
		}
	}
	e, x := w.e, w.e.executor
	left := map[string]int{
		"buffers": int(e.pool.Out()), "connections": int(e.registry.open.Load()), "listed": len(e.registry.all()),
		"goroutines": e.goroutines.n, "functions": int(e.background.Load()), "bursts": len(e.ticker.active),
		"workers": x.running, "callbacks": w.busy,
	}
	for what, n := range left {
		if n != 0 {
			w.fault("%d %s are left", n, what)
		}
	}
	s, closed := e.Stats(), uint64(0)
	for _, n := range s.Closed {
		closed += n
	}
	if closed != s.Opened || x.head != nil || s.Pending != 0 {
		w.fault("%d of %d connections closed, %d bytes pending", closed, s.Opened, s.Pending)
	}
}
