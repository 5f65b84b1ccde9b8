package hub

import (
	"log/slog"
	"runtime/debug"
	"sync"
)

// errands are things to be done in the order in which they have been added, one at a
// time: by whoever has added one, those of others included, unless somebody is at it.
// So nobody waits for anybody, and no lock is held meanwhile.
type errands[T any] struct {
	mu   sync.Mutex
	list []T
	busy bool
}

// turn is how much one goroutine does for others, or a little more, before it has a
// fresh one go on: sends and calls of the program, about.
const turn = 4096

// add is called under the locks that order what is added.
func (e *errands[T]) add(next T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, next)
}

// run does what there is, unless somebody is at it. do returns how much it has done.
func (e *errands[T]) run(logger *slog.Logger, do func(T) int) {
	if e.begin() {
		e.goOn(logger, do)
	}
}

func (e *errands[T]) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy || len(e.list) == 0 {
		return false
	}
	e.busy = true
	return true
}

// goOn is for who has begun. If the program ends the goroutine, too, another goes on.
func (e *errands[T]) goOn(logger *slog.Logger, do func(T) int) {
	over := false
	defer func() {
		if !over {
			go e.goOn(logger, do) // ends when nothing is left
		}
	}()
	for done := 0; done < turn; {
		next, ok := e.next()
		if !ok {
			over = true
			return
		}
		done += guard(logger, next, do)
	}
}

// next takes the first; false: there is none, and who has begun has ended.
func (e *errands[T]) next() (next T, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		e.list, e.busy = nil, false
		return next, false
	}
	var none T
	next, e.list[0] = e.list[0], none
	e.list = e.list[1:]
	return next, true
}

// guard does one thing. A panic of the program's is logged: it must not hit whoever
// happens to be at it, nor keep from others what comes after.
func guard[T any](logger *slog.Logger, next T, do func(T) int) (done int) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("penstock: a callback of a hub panicked", "panic", p, "stack", string(debug.Stack()))
			done = 1
		}
	}()
	return do(next)
}
