package engine

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// loops are the event loops of an engine.
type loops struct {
	list []*loop
	turn atomic.Uint64
	once sync.Once // says that a connection is not theirs
}

// pick returns the loop for the next connection: each in turn.
func (s *loops) pick() *loop {
	return s.list[s.turn.Add(1)%uint64(len(s.list))]
}

func (s *loops) stop() {
	for _, l := range s.list {
		l.stop()
	}
}

// startLoops does what Config.IO asks, as far as it can be done here.
func (e *Engine) startLoops() error {
	if e.cfg.IO != IOLoops {
		return nil
	}
	set, err := newLoops(e, e.cfg.Loops)
	if errors.Is(err, errors.ErrUnsupported) {
		e.cfg.Logger.Warn("penstock: there are no event loops on this system; every connection has a reader goroutine")
		return nil
	}
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	e.loops = set
	return nil
}

// newLoopSocket puts a connection on a loop; nil: it has to do without.
func (e *Engine) newLoopSocket(tcp *net.TCPConn, k kernel) socket {
	if e.loops == nil {
		return nil
	}
	s, err := newLoopSocket(e.loops.pick(), tcp, k)
	if err != nil {
		e.fallBack(err.Error())
		return nil
	}
	return s
}

// fallBack says once that a connection is not read by a loop.
func (e *Engine) fallBack(why string) {
	if e.loops != nil {
		e.loops.once.Do(func() {
			e.cfg.Logger.Warn("penstock: a connection has a reader goroutine instead of a place on an event loop; others like it will not be mentioned", "reason", why)
		})
	}
}
