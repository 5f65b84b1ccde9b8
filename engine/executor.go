package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/panjf2000/ants/v2"
)

// An executor runs connections that have something to do on a bounded number of
// workers. It is a FIFO of connections, linked through them. A worker takes the
// first, gives it one turn, and puts it back at the end if it has more.
//
// The invariant: if the FIFO is not empty, a worker runs, is starting or lingers.
// A worker that takes a connection and leaves others behind starts the next worker
// before it turns to its own, so that handlers that wait never keep others from
// running while there are workers left.
//
// A worker that finds nothing lingers: it lets the goroutines run that are ready
// before it ends. They are often readers that are about to hand over, and starting
// a worker for each would cost more than an echo's handler. One worker lingers at
// a time, and while it does none is started.
type executor struct {
	pool  *ants.Pool
	limit int
	task  func() // x.workLoop, made once

	mu        sync.Mutex
	head      *Conn
	tail      *Conn
	waiting   int  // connections in the FIFO
	running   int  // workers between start and exit
	starting  bool // one of them has not taken a connection yet
	lingering bool // one of them looks once more before it ends
}

// newExecutor makes room in the pool for more than limit tasks: ants counts a
// worker as busy for a moment after its task has ended. The limit is kept here.
func newExecutor(limit int) (*executor, error) {
	pool, err := ants.NewPool(2*limit+8, ants.WithNonblocking(true))
	if err != nil {
		return nil, err
	}
	x := &executor{pool: pool, limit: limit}
	x.task = x.workLoop
	return x, nil
}

// schedule puts a connection at the end of the FIFO. Its state is queued, which
// keeps it from being here twice.
func (x *executor) schedule(c *Conn) {
	x.mu.Lock()
	if x.tail == nil {
		x.head = c
	} else {
		x.tail.nextRunnable = c
	}
	x.tail = c
	x.waiting++
	start := x.startLocked()
	x.mu.Unlock()
	if start {
		x.spawn()
	}
}

// startLocked reports whether the caller must spawn a worker.
func (x *executor) startLocked() bool {
	if x.head == nil || x.starting || x.lingering || x.running >= x.limit {
		return false
	}
	x.running++
	x.starting = true
	return true
}

// spawn starts a worker. The pool can only be full for the moment named at
// newExecutor, and is only closed when no connection is left.
func (x *executor) spawn() {
	for {
		err := x.pool.Submit(x.task)
		if !errors.Is(err, ants.ErrPoolOverload) {
			return
		}
		runtime.Gosched()
	}
}

// next takes the first connection; nil ends the worker.
func (x *executor) next(first bool) (c *Conn) {
	x.mu.Lock()
	if first {
		x.starting = false
	}
	if x.head == nil && !x.lingering {
		x.lingerLocked()
	}
	c = x.head
	if c == nil {
		x.running--
		x.mu.Unlock()
		return nil
	}
	if x.head = c.nextRunnable; x.head == nil {
		x.tail = nil
	}
	c.nextRunnable = nil
	x.waiting--
	start := x.startLocked()
	x.mu.Unlock()
	if start {
		x.spawn()
	}
	return c
}

func (x *executor) lingerLocked() {
	x.lingering = true
	x.mu.Unlock()
	runtime.Gosched()
	x.mu.Lock()
	x.lingering = false
}

// workLoop is a worker; it ends when the FIFO is empty.
func (x *executor) workLoop() {
	w := worker{x: x}
	defer w.exit()
	for first := true; ; first = false {
		w.conn = x.next(first)
		if w.conn == nil {
			return
		}
		w.turn()
	}
}

// A worker is what must be put right if a handler ends its goroutine.
type worker struct {
	x     *executor
	conn  *Conn // whose turn it is
	burst *burst
}

func (w *worker) turn() {
	c := w.conn
	if w.burst == nil {
		w.burst = c.e.ticker.bursts.Get().(*burst)
	}
	if c.runOnce(w.burst) {
		c.schedule()
	}
	w.conn = nil
}

// exit runs when the worker ends: in good order, or because a handler called
// runtime.Goexit, which ends the goroutine and cannot be stopped. Then the
// connection's turn is ended here, and the worker counted out.
func (w *worker) exit() {
	if w.conn != nil {
		defer w.x.lost() // also if OnClose calls it again
	}
	w.repair()
}

// repair ends the turn that runtime.Goexit has broken off, if there is one.
func (w *worker) repair() {
	if b := w.burst; b != nil {
		b.end()
		b.e.ticker.bursts.Put(b)
		w.burst = nil
	}
	c := w.conn
	if c == nil {
		return
	}
	w.conn = nil
	if c.corked {
		c.corked = false
		c.queue.Uncork()
		c.queue.Flush()
	}
	if c.endTurn(0, 0) {
		c.schedule()
	}
}

// lost counts a worker out that did not end by itself, and replaces it.
func (x *executor) lost() {
	x.mu.Lock()
	x.running--
	start := x.startLocked()
	x.mu.Unlock()
	if start {
		x.spawn()
	}
}

// usage returns how many workers run, how many may, and how many connections wait
// for one.
func (x *executor) usage() (running, limit, waiting int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.running, x.limit, x.waiting
}

// stop waits until all workers have ended, or for ctx.
func (x *executor) stop(ctx context.Context) error {
	return x.pool.ReleaseContext(ctx)
}
