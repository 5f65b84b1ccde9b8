package reconnect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Config says where a client belongs and how it stays there. Target is required; the
// zero value of everything else is a default.
//
// Callbacks run with no lock held; OnState, OnConnect, Before and GiveUp never
// overlap. None may wait for Close, nor end its goroutine. A panic in OnConnect,
// Before, GiveUp, OnState or OnLost is the program's: it is not recovered. Nor is that of
// an interceptor that sees a message go out, in whoever hands it over: a sender, of that
// message or another, or a goroutine of the client's.
type Config struct {
	// Target is the ws:// or wss:// URL to dial.
	Target string

	// Before, unless nil, is called before each attempt and may change its target and
	// header: another host, a fresh token. An error makes the attempt fail.
	Before func(ctx context.Context, a *Attempt) error

	// Dial is how to connect. The callbacks of its Endpoint.Handler see every
	// connection. Default of its Engine: one for this client, which ends with it, with
	// the default engine.Config but for a HighWaterBytes of 128 KiB; many clients are best
	// given one.
	Dial engine.DialConfig

	// AttemptTimeout bounds one attempt: Before, dialling, OnConnect and, with
	// ExactlyOnce, the wait for the greeting. Default 30 s; negative: no bound but
	// those of the engine.
	AttemptTimeout time.Duration

	// MinWait and MaxWait bound the wait before the next attempt, which is uniformly
	// random between zero and MinWait after the first failure, twice MinWait after
	// the second and so on, up to MaxWait. When a server restarts its clients come back
	// within about MinWait, so with many of them it should be what the server needs for all
	// their handshakes. Defaults 500 ms and 30 s; they cannot be switched off.
	//
	// A server that refuses with Retry-After (RFC 9110 §10.2.3) is left alone for as
	// long, at most MaxWait, and then for the random time.
	MinWait time.Duration
	MaxWait time.Duration

	// StableAfter is how long a connection must have lasted for failures to be counted
	// from zero again: a server that accepts and drops counts as failing. Default 10 s;
	// negative: every connection will do.
	StableAfter time.Duration

	// OutboxMessages and OutboxBytes bound what has been accepted and not been handed
	// to a connection or, with acknowledgements, has not been acknowledged; bytes are
	// payload. At either bound Overflow decides. Defaults 1024 messages, and 4 MiB or the
	// engine's MaxMessageBytes if that is more. Negative OutboxMessages: no outbox, what a
	// connection does not take at once is refused, also because another sender's message is
	// just being handed over; only possible with AtMostOnce.
	OutboxMessages int
	OutboxBytes    int

	// Overflow is what becomes of a message for which the outbox has no room.
	// Default Refuse.
	Overflow Overflow

	// Delivery is what is promised for a message that has been accepted. Default
	// AtMostOnce. The others need Ack.
	Delivery Delivery

	// Ack reads an acknowledgement: how many of the messages that this client has sent
	// the server has received, over all connections, or with AtLeastOnce all up to
	// which. false: m is none, and goes to OnMessage, which there must be: Ack is called
	// in its place. Default nil: there are no acknowledgements.
	Ack func(m engine.Message) (received uint64, ok bool)

	// OnConnect, unless nil, is called on each connection before anything of the outbox
	// is sent on it: the place to subscribe again. It may wait, for an answer to what
	// it sends, say: messages are handled meanwhile. ctx ends with the connection, the
	// attempt and the client. An error closes the connection, and the attempt has failed.
	OnConnect func(ctx context.Context, c *engine.Conn) error

	// OnState, unless nil, is called at each change, in order: with why the connection
	// was lost or could not be made, for Away, and with what Client.Err returns, for
	// Closed.
	OnState func(s State, err error)

	// OnLost, unless nil, is called for each message that has been accepted and will
	// certainly not be sent by this client, or not again: dropped by DropOldest
	// (engine.ErrDropped), refused by an interceptor or the connection (its error), or
	// left when the client ended (what Client.Err returns; it may have arrived if the
	// delivery is by acknowledgement). payload may be kept.
	OnLost func(op frame.Opcode, payload []byte, err error)

	// GiveUp reports whether the client is to end, after a connection has ended, with a
	// *engine.CloseError, or an attempt has failed, with a *engine.HandshakeError or any
	// other error. Default Hopeless; to switch it off, return false.
	GiveUp func(err error) bool
}

// An Attempt is what Config.Before may change.
type Attempt struct {
	Number int         // from 1, since a connection has lasted
	Target string      // Config.Target
	Header http.Header // a copy of Config.Dial.Header, never nil
}

// Overflow is what becomes of a message for which the outbox has no room.
type Overflow uint8

const (
	// Refuse refuses it, with engine.ErrCongested.
	Refuse Overflow = iota

	// DropOldest drops as many of the oldest messages as make room for it, and tells
	// OnLost. What has been handed to a connection stays: if dropping all others would not
	// make room the new one is refused.
	DropOldest
)

// String returns the policy's name in lower case.
func (o Overflow) String() string {
	switch o {
	case Refuse:
		return "refuse"
	case DropOldest:
		return "drop oldest"
	}
	return fmt.Sprintf("Overflow(%d)", uint8(o))
}

// Delivery is what a client promises for the messages that it has accepted. All hand
// them over in order.
type Delivery uint8

const (
	// AtMostOnce hands each message to one connection, once. What that has taken is not
	// sent again, so none arrives twice. Lost may be what a connection had taken when it
	// failed and the peer had not received: at most the HighWaterBytes of the engine and
	// one message, what the system holds for the socket, and what was on the network.
	// What was in the outbox is not. What is late on one connection a server may still read
	// after what came on the next, unless it ends the earlier one first.
	AtMostOnce Delivery = iota

	// AtLeastOnce keeps each message until it is acknowledged, and sends again on the next
	// connection what has not been. What the server had received and could not
	// acknowledge any more comes twice: it must know it, by a number in the payload.
	AtLeastOnce

	// ExactlyOnce is for servers that count. On each connection the server greets with
	// the number of messages that it has received from this client on all connections
	// before; this is the first acknowledgement, and nothing of the outbox is sent
	// before it. What the server has is dropped from the outbox and the rest is sent.
	//
	// It asks two things of the server: that from the greeting on it counts and
	// handles nothing more from the client's earlier connections, for something may
	// still be on its way there; and that it forgets the number no sooner than the
	// messages. A greeting that does not fit ends the client with ErrAck. Only what the
	// client sends counts, not what handlers and OnConnect send by Conn.Send.
	ExactlyOnce
)

// String returns the promise in lower case.
func (d Delivery) String() string {
	switch d {
	case AtMostOnce:
		return "at most once"
	case AtLeastOnce:
		return "at least once"
	case ExactlyOnce:
		return "exactly once"
	}
	return fmt.Sprintf("Delivery(%d)", uint8(d))
}

const (
	defaultAttempt  = 30 * time.Second
	defaultMinWait  = 500 * time.Millisecond
	defaultMaxWait  = 30 * time.Second
	defaultStable   = 10 * time.Second
	defaultMessages = 1024
	defaultBytes    = 4 << 20
)

// withDefaults returns the configuration with every zero replaced, but for the
// engine, of whose messages none is larger than largest.
func (c Config) withDefaults(largest int) Config {
	or(&c.AttemptTimeout, defaultAttempt)
	or(&c.MinWait, defaultMinWait)
	or(&c.MaxWait, max(defaultMaxWait, c.MinWait))
	or(&c.StableAfter, defaultStable)
	or(&c.OutboxMessages, defaultMessages)
	or(&c.OutboxBytes, max(defaultBytes, largest))
	if c.GiveUp == nil {
		c.GiveUp = Hopeless
	}
	return c
}

// or sets a value that is zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns every mistake in c as joined values of *engine.ConfigError, or
// nil. New calls it.
func (c Config) Validate() error {
	c = c.withDefaults(0)
	var errs []error
	mistake := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &engine.ConfigError{Field: field, Value: value, Allowed: allowed})
		}
	}
	u, err := url.Parse(c.Target)
	mistake(err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.Fragment != "",
		"Target", "something else", "a ws:// or wss:// URL with a host and without a fragment") // it may hold a token
	mistake(c.MinWait < 0, "MinWait", c.MinWait, "a positive duration")
	mistake(c.MaxWait < c.MinWait, "MaxWait", c.MaxWait, fmt.Sprintf("at least MinWait, %v", c.MinWait))
	mistake(c.OutboxBytes < 0, "OutboxBytes", c.OutboxBytes, "a positive number; OutboxMessages switches the outbox off")
	mistake(c.Overflow > DropOldest, "Overflow", c.Overflow, "Refuse or DropOldest")
	mistake(c.Delivery > ExactlyOnce, "Delivery", c.Delivery, "AtMostOnce, AtLeastOnce or ExactlyOnce")
	mistake(c.Delivery != AtMostOnce && c.OutboxMessages < 0, "OutboxMessages", c.OutboxMessages, "a positive number with acknowledgements")
	mistake(c.Delivery != AtMostOnce && c.Ack == nil, "Ack", "nil", fmt.Sprintf("a function if Delivery is %v", c.Delivery))
	mistake(c.Ack != nil && c.Dial.Endpoint.Handler.OnMessage == nil, "Dial.Endpoint.Handler.OnMessage", "nil", "a function if there is Ack, which stands before it")
	mistake(c.Delivery == AtMostOnce && c.Ack != nil, "Ack", "a function", "nil if Delivery is AtMostOnce")
	return errors.Join(errs...)
}
