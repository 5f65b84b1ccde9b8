package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A replayer brings from the archive to the hub what rooms with a history lack: all when
// a room gets its first member, what has been missed after an outage, what came out of
// order.
type replayer struct {
	n    *Node
	wake chan struct{} // has elements if there may be rooms for workers that wait

	failing atomic.Bool // the log says so

	mu   sync.Mutex
	next []*subscription
}

// replayers is how many rooms are read at once.
const replayers = 4

func (r *replayer) init(n *Node) { r.n, r.wake = n, make(chan struct{}, replayers) }

// add has a room read, once more if it is being read.
func (r *replayer) add(s *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.again = true; s.reading {
		return
	}
	s.reading = true
	r.next = append(r.next, s)
	signal(r.wake)
}

// run works until ctx is done.
func (r *replayer) run(ctx context.Context) {
	var all sync.WaitGroup
	for range replayers {
		all.Go(func() { r.work(ctx) }) // until ctx is done
	}
	all.Wait()
}

func (r *replayer) work(ctx context.Context) {
	for ctx.Err() == nil {
		s := r.take()
		if s == nil {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		err := r.read(ctx, s)
		r.note(ctx, err)
		r.putBack(s, err)
	}
}

// note tells the log when reading begins to fail, and when it does not any more, and
// waits a little if it does.
func (r *replayer) note(ctx context.Context, err error) {
	switch {
	case err == nil:
		if r.failing.Swap(false) {
			r.n.cfg.Logger.Info("penstock: the archive can be read again", "node", r.n.ID())
		}
	case ctx.Err() != nil, errors.Is(err, errGoesBack):
	default:
		if !r.failing.Swap(true) {
			r.n.cfg.Logger.Warn("penstock: the archive cannot be read: rooms with a history wait", "node", r.n.ID(), "error", err)
		}
		retry.Wait(ctx, firstPause+rand.N(firstPause))
	}
}

func (r *replayer) take() *subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.next) == 0 {
		return nil
	}
	s := r.next[0]
	r.next = r.next[1:]
	s.again = false
	return s
}

// putBack has a room read again if that has failed, or there may be more by now.
func (r *replayer) putBack(s *subscription, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (err == nil && !s.again) || r.n.find(r.n.channel(s.scope, s.name)) != s {
		s.reading = false
		return
	}
	r.next = append(r.next, s)
	signal(r.wake)
}

var errGoesBack = errors.New("cluster: the archive has lost messages")

// read gives a room all that the archive has and it has not.
func (r *replayer) read(ctx context.Context, s *subscription) error {
	room, channel := r.n.hub.Room(s.name), r.n.channel(s.scope, s.name)
	at := room.Position()
	for {
		page, err := r.page(ctx, channel, at.Seq)
		switch {
		case err != nil:
			return err
		case page.Last.Epoch != at.Epoch && at.Seq > 0 && page.Last != hub.Position{}: // another one
			at = hub.Position{Epoch: page.Last.Epoch}
			continue
		case page.Last.Epoch == at.Epoch && page.Last.Seq < at.Seq:
			return r.beginAnew(ctx, s, channel, at)
		case len(page.Messages) == 0:
			if page.Last == (hub.Position{}) {
				page.Last = at // it has forgotten all, and goes on in another epoch
			}
			room.Ready(page.Last)
			s.makeReady()
			return nil
		}
		for i, m := range page.Messages {
			at = hub.Position{Epoch: page.Last.Epoch, Seq: page.First + uint64(i)}
			room.Restore(at, m.When, m.Type, m.Payload)
		}
	}
}

func (r *replayer) page(ctx context.Context, channel string, after uint64) (Page, error) {
	within, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	return r.n.cfg.Archive.Read(within, channel, after)
}

// beginAnew has the archive give other positions than those that it has lost.
func (r *replayer) beginAnew(ctx context.Context, s *subscription, channel string, seen hub.Position) error {
	within, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	r.n.cfg.Logger.Warn("penstock: the archive has lost messages that it had taken", "node", r.n.ID(), "room", s.name, "seen", seen)
	b := Batch{By: r.n.ID() + "-anew", Number: rand.Uint64(), Seen: seen, Limits: r.n.cfg.Hub.History(s.name).WithDefaults()}
	if _, err := r.n.cfg.Archive.Append(within, channel, b); err != nil {
		return err
	}
	return errGoesBack // it is read again
}

// place gives a room a message that has its position, or has the room read if that is
// not the next one.
func (n *Node) place(s *subscription, at hub.Position, m Kept) {
	if !n.hub.Room(s.name).Put(at, m.When, m.Type, m.Payload) {
		n.replayer.add(s)
	}
}

// makeReady is called when a room has all that the archive had.
func (s *subscription) makeReady() {
	s.readyOnce.Do(func() { close(s.ready) })
}

// awaitReady waits, in bounds, until the members of a room here have been let in: who
// publishes in a room that it has joined is to get what it publishes.
func (n *Node) awaitReady(ctx context.Context, channel string) {
	s := n.find(channel)
	if s == nil {
		return
	}
	t := time.NewTimer(publishWithin)
	defer t.Stop()
	select {
	case <-s.ready:
	case <-t.C:
	case <-ctx.Done():
	}
}
