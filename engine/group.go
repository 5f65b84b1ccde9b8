package engine

import "sync"

// A group counts goroutines that are awaited. Unlike a sync.WaitGroup it may be
// added to while it is being waited for: a queue can ask for a writer at the very
// moment its connection is cut off.
type group struct {
	mu   sync.Mutex
	n    int
	idle sync.Cond
}

// spawn runs f on a goroutine of its own.
func (g *group) spawn(f func()) {
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
	go func() {
		defer g.done() // also after runtime.Goexit
		f()
	}()
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.idle.L != nil {
		g.idle.Broadcast()
	}
}

// wait returns when no goroutine is left.
func (g *group) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle.L = &g.mu
	for g.n > 0 {
		g.idle.Wait()
	}
}
