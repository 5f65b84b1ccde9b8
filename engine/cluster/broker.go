package cluster

import (
	"context"
	"errors"
)

// Broker carries messages between nodes. What it is to subscribe is a set, which Run
// establishes and, after an outage, establishes again. Any goroutine may call Publish,
// Subscribe and Unsubscribe at any time, whether Run runs or not. A channel's name has
// 1 to 1000 bytes of printable ASCII without spaces, '*' and '>', and neither begins nor
// ends with a '.', nor has two in a row.
type Broker interface {
	// Run connects, keeps connected, and calls to, until ctx is done. It is called
	// once, and returns when everything that it has started has ended.
	Run(ctx context.Context, to Events)

	// Subscribe adds to the set. It waits for nothing: Events.Live says when a channel
	// is established, each time that it has been added, however soon after Unsubscribe;
	// of several times in a row, for the last one.
	Subscribe(channels ...string)

	// Unsubscribe takes out of the set. It waits for nothing: some messages may still
	// come.
	Unsubscribe(channels ...string)

	// Publish hands messages over, in order, and returns how many of the first are
	// settled: taken, or refused for ever, which an *RefusedError tells besides. It
	// returns fewer than all with another error only: one that is ErrAway if none of the
	// rest has been sent; after any other nobody knows what has become of the rest. The
	// caller keeps what it has given.
	Publish(ctx context.Context, batch []Message) (settled int, err error)
}

// Message is a payload on a channel.
type Message struct {
	Channel string
	Payload []byte
}

// Events is what a broker tells, from one goroutine at a time. All fields must be set,
// and must not wait.
type Events struct {
	// Received is called for each message of the channels, in the order in which one
	// publisher has published them on one channel. The payload is valid until return.
	Received func(m Message)

	// Live is called when a channel has been established: what is published from then
	// on will be received, until Lost is called or it is unsubscribed.
	Live func(channel string)

	// Lost is called when messages may be missing of any channel, from some moment
	// before the call until Live is called for it again.
	Lost func(err error)
}

// ErrAway is what Broker.Publish returns when there is no connection.
var ErrAway = errors.New("cluster: the broker is away")

// RefusedError: the broker will never take some messages, whatever is tried.
type RefusedError struct {
	At  []int // which ones of the batch
	Err error // what it says of the last of them
}

// Error returns what the broker says.
func (e *RefusedError) Error() string {
	return "cluster: the broker refuses a message: " + e.Err.Error()
}

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }
