package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// WhenFull says what becomes of a message for which there is no room.
type WhenFull uint8

// What there is.
const (
	DropOldest WhenFull = iota // the oldest that wait are dropped; the other nodes are told of a gap
	Refuse                     // ErrOutboxFull is returned
)

// String returns the constant's name.
func (w WhenFull) String() string {
	switch w {
	case DropOldest:
		return "DropOldest"
	case Refuse:
		return "Refuse"
	}
	return fmt.Sprintf("WhenFull(%d)", uint8(w))
}

// ErrOutboxFull: this node's connections have the message, and no others will get it.
var ErrOutboxFull = errors.New("cluster: the outbox is full")

// An outbox is what waits for the broker.
type outbox struct {
	n    *Node         // immutable
	wake chan struct{} // has one element if there may be something to send
	back chan struct{} // has one element if the broker may be back

	mu       sync.Mutex
	queue    []waiting
	bytes    int
	numbers  numbers
	lost     map[string]stream // by channel, the last one dropped that the others are to be told of
	lostMany bool              // more channels than lost may have
	held     time.Time         // until when nothing is sent
}

// waiting is a message in the outbox.
type waiting struct {
	Message
	at    stream // its place
	plain bool
}

const (
	batchMessages = 256
	batchBytes    = 256 << 10
	mostLost      = 1024 // channels
	publishWithin = 5 * time.Second
	lastWithin    = time.Second
	firstPause    = 20 * time.Millisecond
	longestPause  = time.Second
	holdFor       = 5 * time.Second        // at the most, while the broker is lost
	settleFor     = 500 * time.Millisecond // after it is back, for the other nodes to subscribe again
	costOfWaiting = 100                    // what a message takes beside its payload
)

func (o *outbox) init(n *Node) {
	o.n, o.wake, o.back = n, make(chan struct{}, 1), make(chan struct{}, 1)
	o.numbers, o.lost = make(numbers), make(map[string]stream)
}

// add numbers an envelope and leaves it for the sender.
func (o *outbox) add(channel string, e envelope) error {
	e.node = o.n.id
	size := headerBytes + len(e.payload)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.makeRoomLocked(size); err != nil {
		return err
	}
	at := o.numbers.next(channel)
	e.stream, e.number = at.id, at.number
	payload := e.appendTo(make([]byte, 0, size))
	o.pushLocked(waiting{Message: Message{channel, payload}, at: at})
	return nil
}

func (o *outbox) addPlain(channel string, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.makeRoomLocked(len(payload)); err != nil {
		return err
	}
	o.pushLocked(waiting{Message: Message{channel, bytes.Clone(payload)}, plain: true})
	return nil
}

func (o *outbox) makeRoomLocked(size int) error {
	size += costOfWaiting
	for len(o.queue) > 0 && (len(o.queue) >= o.n.cfg.OutboxMessages || o.bytes+size > o.n.cfg.OutboxBytes) {
		if o.n.cfg.WhenFull == Refuse {
			o.n.stats.refused.Add(1)
			return ErrOutboxFull
		}
		o.n.stats.dropped.Add(1)
		o.missLocked(o.popLocked())
	}
	return nil
}

func (o *outbox) pushLocked(w waiting) {
	o.n.stats.published.Add(1)
	o.queue = append(o.queue, w)
	o.bytes += len(w.Payload) + costOfWaiting
	o.hurry()
}

func (o *outbox) popLocked() waiting {
	first := o.queue[0]
	o.queue[0] = waiting{}
	if o.queue = o.queue[1:]; len(o.queue) == 0 {
		o.queue = nil
	}
	o.bytes -= len(first.Payload) + costOfWaiting
	return first
}

// missLocked remembers what the others are to be told of.
func (o *outbox) missLocked(w waiting) {
	if w.plain {
		return
	}
	last, ok := o.lost[w.Channel]
	switch {
	case !ok && len(o.lost) >= mostLost || w.at == stream{}:
		o.lostMany = true
	case !ok || last.id != w.at.id || last.number < w.at.number:
		o.lost[w.Channel] = w.at
	}
}

// hurry has the sender look.
func (o *outbox) hurry() { signal(o.wake) }

// hold keeps what there is to send for so long: what is published before the others have
// subscribed again is lost on them.
func (o *outbox) hold(d time.Duration) {
	o.mu.Lock()
	o.held = time.Now().Add(d)
	o.mu.Unlock()
	signal(o.back)
}

func (o *outbox) awaitSettled(ctx context.Context) {
	for ctx.Err() == nil {
		o.mu.Lock()
		left := time.Until(o.held)
		o.mu.Unlock()
		if left <= 0 {
			return
		}
		o.pause(ctx, left)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends until ctx is done. It returns what it had taken and not sent.
func (o *outbox) run(ctx context.Context) (rest []waiting) {
	for ctx.Err() == nil {
		if batch := o.take(); len(batch) > 0 {
			rest = o.sendAll(ctx, batch)
			continue
		}
		select {
		case <-ctx.Done():
		case <-o.wake:
		}
	}
	return rest
}

// finish sends what is left, for a moment.
func (o *outbox) finish(rest []waiting) {
	o.hold(0)
	last, cancel := context.WithTimeout(context.Background(), lastWithin)
	defer cancel()
	if len(rest) == 0 {
		rest = o.take()
	}
	for ; len(rest) > 0 && last.Err() == nil; rest = o.take() {
		o.sendAll(last, rest)
	}
}

// take takes what goes out together: the news of what has been lost first, for that is
// older.
func (o *outbox) take() []waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.newsLocked()
	for n, size := 0, 0; len(o.queue) > 0 && n < batchMessages && size < batchBytes; n++ {
		w := o.popLocked()
		size += len(w.Payload)
		batch = append(batch, w)
	}
	return batch
}

// newsLocked makes messages of what has been lost. Each has the number of the last one
// that was dropped, so that the others see no second gap.
func (o *outbox) newsLocked() (batch []waiting) {
	for channel, at := range o.lost {
		batch = append(batch, o.news(channel, kindLost, at))
	}
	clear(o.lost)
	if o.lostMany {
		batch = append(batch, o.news(o.n.channel(All, ""), kindLostAll, stream{}))
		o.lostMany = false
	}
	return batch
}

func (o *outbox) news(channel string, k kind, at stream) waiting {
	e := envelope{kind: k, node: o.n.id, stream: at.id, number: at.number}
	return waiting{Message: Message{channel, e.appendTo(nil)}, at: at}
}

// sendAll tries until all of the batch are taken, refused, or plain and in doubt; or ctx
// is done. It returns the rest.
func (o *outbox) sendAll(ctx context.Context, batch []waiting) (rest []waiting) {
	for pause := firstPause; len(batch) > 0 && ctx.Err() == nil; {
		o.awaitSettled(ctx)
		settled, err := o.try(ctx, batch)
		var refused *RefusedError
		if errors.As(err, &refused) {
			o.refused(batch, refused)
		}
		if batch = batch[settled:]; len(batch) == 0 {
			return nil
		}
		if !errors.Is(err, ErrAway) {
			batch = o.withoutPlain(batch)
		}
		o.pause(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, longestPause)
	}
	return batch
}

// refused has the others told, unless even the news of it is refused.
func (o *outbox) refused(batch []waiting, why *RefusedError) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range why.At {
		o.n.stats.dropped.Add(1)
		if w := batch[i]; len(w.Payload) > headerBytes {
			o.missLocked(w)
		}
	}
	o.n.cfg.Logger.Warn("penstock: the broker refuses messages", "channel", batch[why.At[0]].Channel, "count", len(why.At), "error", why.Err)
}

func (o *outbox) try(ctx context.Context, batch []waiting) (int, error) {
	messages := make([]Message, len(batch))
	for i, w := range batch {
		messages[i] = w.Message
	}
	within, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	return o.n.cfg.Broker.Publish(within, messages)
}

// withoutPlain gives up what would arrive twice if it had arrived. Envelopes have numbers:
// those that come again are dropped where they come.
func (o *outbox) withoutPlain(batch []waiting) (rest []waiting) {
	for _, w := range batch {
		if w.plain {
			o.n.stats.dropped.Add(1)
		} else {
			rest = append(rest, w)
		}
	}
	return rest
}

// pause waits, but not longer than until the broker is back.
func (o *outbox) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-o.back:
	}
}
