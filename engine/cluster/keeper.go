package cluster

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// ErrLeft: the node has left the cluster, and nobody knows whether the archive has taken
// the message.
var ErrLeft = errors.New("cluster: the node has left")

// A keeper brings to the archive what is published in rooms with a history. A room's
// messages go one batch after the other, several rooms' at once.
type keeper struct {
	n    *Node
	wake chan struct{} // has elements if there may be lanes for workers that wait

	failing atomic.Bool // the log says so

	mu    sync.Mutex
	lanes map[string]*lane // by channel
	next  []*lane          // with messages, and nobody at them
	count int
	bytes int
	left  bool
}

// A lane is what waits for one channel.
type lane struct {
	room, channel string
	queue         []keeping
	number        uint64 // of the last batch
}

// A keeping is a message that waits for the archive.
type keeping struct {
	Kept
	done func(at hub.Position, err error)
}

// keepers is how many lanes are worked on at once.
const keepers = 8

func (k *keeper) init(n *Node) {
	k.n, k.wake, k.lanes = n, make(chan struct{}, keepers), make(map[string]*lane)
}

// add leaves a message to the workers, or returns an error, and calls nobody then.
func (k *keeper) add(room string, m keeping) error {
	channel, size := k.n.channel(Room, room), costOfWaiting+len(m.Payload)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch cfg := &k.n.cfg; {
	case k.left:
		return ErrLeft
	case k.count > 0 && (k.count >= cfg.OutboxMessages || k.bytes+size > cfg.OutboxBytes):
		k.n.stats.refused.Add(1)
		return ErrOutboxFull
	}
	m.Payload = bytes.Clone(m.Payload)
	k.count++
	k.bytes += size
	l := k.lanes[channel]
	if l == nil {
		l = &lane{room: room, channel: channel, number: rand.Uint64N(1 << 40)}
		k.lanes[channel] = l
		k.next = append(k.next, l)
		signal(k.wake)
	}
	l.queue = append(l.queue, m)
	return nil
}

// run works until ctx is done.
func (k *keeper) run(ctx context.Context) {
	var all sync.WaitGroup
	for range keepers {
		all.Go(func() { k.work(ctx) }) // until ctx is done
	}
	all.Wait()
	k.leave()
}

func (k *keeper) work(ctx context.Context) {
	for ctx.Err() == nil {
		l, batch := k.take()
		if l == nil {
			select {
			case <-ctx.Done():
			case <-k.wake:
			}
			continue
		}
		k.keep(ctx, l, batch)
		k.putBack(l)
	}
}

// take takes what goes to the archive at once.
func (k *keeper) take() (*lane, []keeping) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.next) == 0 {
		return nil, nil
	}
	l := k.next[0]
	k.next = k.next[1:]
	n, size := 0, 0
	for n < len(l.queue) && n < batchMessages {
		if size += len(l.queue[n].Payload); n > 0 && size > batchBytes {
			break
		}
		n++
	}
	l.number++
	return l, l.queue[:n:n]
}

// putBack is for who has kept a lane's first messages.
func (k *keeper) putBack(l *lane) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(l.queue) == 0 {
		delete(k.lanes, l.channel)
		return
	}
	k.next = append(k.next, l)
	signal(k.wake)
}

// keep tries until the archive has taken the batch, or refuses it, or ctx is done.
func (k *keeper) keep(ctx context.Context, l *lane, batch []keeping) {
	k.n.awaitReady(ctx, l.channel)
	b := Batch{By: k.n.ID(), Number: l.number, Limits: k.n.cfg.Hub.History(l.room).WithDefaults(), Seen: k.n.hub.Room(l.room).Position()}
	for _, m := range batch {
		b.Messages = append(b.Messages, m.Kept)
	}
	first, err := k.try(ctx, l.channel, b)
	var refused *RefusedError
	for pause := firstPause; err != nil && !errors.As(err, &refused); pause = min(2*pause, longestPause) {
		if ctx.Err() != nil {
			return // leave has the last word
		}
		if !k.failing.Swap(true) {
			k.n.cfg.Logger.Warn("penstock: the archive does not take messages", "node", k.n.ID(), "error", err)
		}
		retry.Wait(ctx, pause/2+rand.N(pause))
		first, err = k.try(ctx, l.channel, b)
	}
	if k.failing.Swap(false) {
		k.n.cfg.Logger.Info("penstock: the archive takes messages again", "node", k.n.ID())
	}
	k.settled(l, len(batch))
	if err == nil {
		k.n.kept(l, first, b.Messages)
	}
	for i, m := range batch {
		if err != nil {
			k.tell(m, hub.Position{}, err)
		} else {
			k.tell(m, hub.Position{Epoch: first.Epoch, Seq: first.Seq + uint64(i)}, nil)
		}
	}
}

// tell calls the program, whose panic is its own.
func (k *keeper) tell(m keeping, at hub.Position, err error) {
	defer func() {
		if p := recover(); p != nil {
			k.n.cfg.Logger.Error("penstock: who published in a history panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	m.done(at, err)
}

func (k *keeper) try(ctx context.Context, channel string, b Batch) (hub.Position, error) {
	within, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	return k.n.cfg.Archive.Append(within, channel, b)
}

func (k *keeper) settled(l *lane, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range l.queue[:n] {
		k.count--
		k.bytes -= costOfWaiting + len(m.Payload)
	}
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
}

// leave tells those who wait that nothing more happens.
func (k *keeper) leave() {
	k.mu.Lock()
	k.left = true
	lanes := k.lanes
	k.lanes, k.next = nil, nil
	k.mu.Unlock()
	for _, l := range lanes {
		for _, m := range l.queue {
			k.tell(m, hub.Position{}, ErrLeft)
		}
	}
}

// kept is for a batch that the archive has taken: its members here get it, and the other
// nodes.
func (n *Node) kept(l *lane, first hub.Position, batch []Kept) {
	s := n.find(l.channel)
	for i, m := range batch {
		at := hub.Position{Epoch: first.Epoch, Seq: first.Seq + uint64(i)}
		if s != nil {
			n.place(s, at, m)
		}
		// What finds no room there is missed by the others, who see that by the next number,
		// or when the outbox tells them.
		_ = n.outbox.add(l.channel, envelope{kind: kindPlaced, payload: appendPlaced(nil, at, m)})
	}
}

// shares reports whether a room's history is in the archive.
func (n *Node) shares(room string) bool {
	return n.cfg.Archive != nil && n.cfg.Hub.History != nil && n.cfg.Hub.History(room).Messages > 0
}

// Keep publishes in a room whose history is in the archive, and waits for nothing: done
// is called, from another goroutine, when the archive has the message, with its position,
// which is the same on all nodes, or has refused it, or Run has ended; it must not
// wait. What the archive
// cannot take while it is away waits in the order of publishing, in bounds: those of the
// outbox. The error is ErrOutboxFull beyond them, or says why the message cannot be
// published at all; then done is not called. The caller keeps payload.
func (g Group) Keep(op frame.Opcode, payload []byte, done func(at hub.Position, err error)) error {
	if g.scope != Room || !g.n.shares(g.name) {
		return hub.ErrNoHistory
	}
	if _, err := g.n.e.Prepare(op, payload); err != nil {
		return err
	}
	return g.n.keeper.add(g.name, keeping{Kept{time.Now(), op, payload}, done})
}

// keepAndWait is Publish in such a room.
func (g Group) keepAndWait(ctx context.Context, op frame.Opcode, payload []byte) (at hub.Position, err error) {
	type outcome struct {
		at  hub.Position
		err error
	}
	got := make(chan outcome, 1)
	if err := g.Keep(op, payload, func(at hub.Position, err error) { got <- outcome{at, err} }); err != nil {
		return hub.Position{}, err
	}
	select {
	case o := <-got:
		return o.at, o.err
	case <-ctx.Done():
		return hub.Position{}, ctx.Err()
	}
}
