package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Connection is an open connection of an app and what is known of it. The fields do
// not change.
type Connection struct {
	ID          string
	AppSlug     string
	Endpoint    string
	UserID      string // "": anonymous
	UserEmail   string // "": not known
	ConnectedAt time.Time

	conn *engine.Conn
	app  *App
}

// Conn returns the engine's connection.
func (c *Connection) Conn() *engine.Conn { return c.conn }

// Send sends a message, as Group.Broadcast does. The error also wraps that of
// engine.Conn.Send.
func (c *Connection) Send(message any) error {
	text, err := c.app.encode(message)
	if err != nil {
		return err
	}
	if err := c.conn.Send(frame.Text, text); err != nil {
		return &sendError{c, err}
	}
	return nil
}

// A sendError is engine.Conn.Send's, and knows whose: a handler that returns what went
// wrong with another connection must not end its own by that.
type sendError struct {
	to  *Connection
	err error
}

// Error is the engine's.
func (e *sendError) Error() string { return e.err.Error() }

// Unwrap returns the engine's error.
func (e *sendError) Unwrap() error { return e.err }

// Subscribe makes the connection one of a channel's. It returns false if it is already,
// or has ended.
func (c *Connection) Subscribe(channel string) bool { return c.app.hub.Room(channel).Join(c.conn) }

// Unsubscribe undoes Subscribe. It returns false if there is nothing to undo.
func (c *Connection) Unsubscribe(channel string) bool { return c.app.hub.Room(channel).Leave(c.conn) }

// ErrNotObject: a message to be sent is no JSON object.
var ErrNotObject = errors.New("app: a message must be a JSON object")

// encode makes the text of a message and puts the app's slug into it.
func (a *App) encode(message any) ([]byte, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return nil, ErrNotObject
	}
	fields["app_slug"], _ = json.Marshal(a.manifest.Slug) // a string always can be
	return json.Marshal(fields)
}

// Message is what a client has sent.
type Message struct {
	// Type is its "type".
	Type string

	// Data is all of it, valid until the handler returns.
	Data json.RawMessage
}

// Decode stores the message in the value that v points to, as json.Unmarshal does. An
// error of it is answered to the client as an invalid message.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return Errorf("the message of type %q is not as it should be", m.Type)
	}
	return nil
}

// Handler handles the messages of one endpoint, those of one connection one after the
// other. Whatever it returns, the connection lives on: an error made by Errorf is told
// to the client, an interceptors.Refusal, too, and any other is logged and answered with
// "internal error", as a panic is.
//
// These end the connection: an *engine.CloseError; a Refusal with Close; and the error of
// c.Send, the client being gone, or too slow for a reply that it waits for. The error of
// another connection's Send is any other, unless it is that of its engine.Conn, which
// cannot be told from c's.
type Handler func(ctx context.Context, c *Connection, m Message) error

// A clientError is what may be told to a client.
type clientError struct{ text string }

// Error is what the client is told.
func (e *clientError) Error() string { return e.text }

// Errorf returns an error whose text the client is told, its first 1000 characters.
// The format is that of fmt.Sprintf: there is no %w, for the client would be told what is
// wrapped.
func Errorf(format string, args ...any) error { return &clientError{fmt.Sprintf(format, args...)} }

// errorMessage is how an error looks on the wire; that of a Refusal like the engine's.
type errorMessage struct {
	Type       string `json:"type"` // always "error"
	Status     int    `json:"status,omitempty"`
	Message    string `json:"message"`
	RetryAfter int64  `json:"retry_after,omitempty"` // in seconds
}

// What is kept of a text that a client has chosen, or is told: messages have a limit
// beyond which they end the connection, and logs should have one.
const (
	mostType = 200  // bytes
	mostText = 1000 // characters
)

func (ep *endpoint) message(ctx context.Context, c *engine.Conn, in engine.Message) error {
	conn := c.Get(connectionKey{}).(*Connection)
	m, err := ep.decode(in)
	if err == nil {
		err = ep.handle(ctx, conn, m)
	}
	return ep.outcome(conn, m, err)
}

// isType is the key of a map with at most two entries: the field "type" and one of the
// others. A map by name would let a client have twenty times its message in memory, and
// a struct would take "TYPE" for "type".
type isType bool

// UnmarshalText compares.
func (is *isType) UnmarshalText(name []byte) error {
	*is = string(name) == "type"
	return nil
}

func (ep *endpoint) decode(in engine.Message) (Message, error) {
	var fields map[isType]json.RawMessage
	m := Message{Data: in.Data}
	switch {
	case in.Type != frame.Text:
		return m, Errorf("a message must be text")
	case json.Unmarshal(in.Data, &fields) != nil || fields == nil:
		return m, Errorf("a message must be a JSON object")
	case json.Unmarshal(fields[true], &m.Type) != nil || m.Type == "" || len(m.Type) > mostType:
		return m, Errorf("a message must have a type, a string of 1 to %d bytes", mostType)
	}
	return m, nil
}

// handle calls the handler and makes an error of its panic.
func (ep *endpoint) handle(ctx context.Context, c *Connection, m Message) (err error) {
	if ep.handler == nil {
		return Errorf("this endpoint takes no messages")
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil { // else it is runtime.Goexit, which the engine knows
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = ep.handler(ctx, c, m)
	returned = true
	return err
}

// outcome answers what has gone wrong. What it returns is the engine's matter.
func (ep *endpoint) outcome(c *Connection, m Message, err error) error {
	var told *clientError
	var refusal interceptors.Refusal
	answer := errorMessage{Type: "error", Message: "internal error"}
	switch {
	case err == nil:
		return nil
	case c.ends(err):
		return err
	case errors.As(err, &told):
		answer.Message = told.text
	case errors.As(err, &refusal) && refusal.Close:
		return err
	case errors.As(err, &refusal):
		answer.Status, answer.Message = refusal.Status, refusal.Message
		answer.RetryAfter = int64((refusal.RetryAfter + time.Second - 1) / time.Second)
	default:
		ep.a.apps.cfg.Logger.Error("penstock: an app's handler failed", "app", c.AppSlug, "endpoint", c.Endpoint, "conn", c.ID, "type", m.Type, "error", err)
	}
	answer.Message = fmt.Sprintf("%.*s", mostText, answer.Message)
	_ = c.Send(answer) // a client that cannot take it is not told
	return nil
}

// ends reports whether err ends c, or says that it has ended or is too slow.
func (c *Connection) ends(err error) bool {
	var failed *sendError
	if errors.As(err, &failed) {
		return failed.to == c && (errors.Is(err, engine.ErrMessageTooBig) || engine.VerdictOf(failed.err) != engine.Refused)
	}
	var closing *engine.CloseError
	return errors.As(err, &closing) || errors.Is(err, engine.ErrCongested) || errors.Is(err, engine.ErrDropped)
}

// Routes handles messages by their type. An unknown type is answered with an error.
type Routes map[string]Handler

// Handle is a Handler.
func (r Routes) Handle(ctx context.Context, c *Connection, m Message) error {
	h := r[m.Type]
	if h == nil {
		return Errorf("unknown message type %q", m.Type)
	}
	return h(ctx, c, m)
}

// A channelMessage asks for a channel, or tells of it.
type channelMessage struct {
	Type    string `json:"type"`
	Channel string `json:"channel"`
}

// Channels returns routes by which clients subscribe to channels:
//
//	{"type":"subscribe","channel":"…"}     answered by {"type":"subscribed","channel":"…"}
//	{"type":"unsubscribe","channel":"…"}   answered by {"type":"unsubscribed","channel":"…"}
//
// allow, unless nil, is asked before each subscription; its error is the outcome.
func Channels(allow func(ctx context.Context, c *Connection, channel string) error) Routes {
	return Routes{
		"subscribe": func(ctx context.Context, c *Connection, m Message) error {
			channel, err := m.channel()
			if err == nil && allow != nil {
				err = allow(ctx, c, channel)
			}
			if err != nil {
				return err
			}
			if c.subscriptions() >= mostChannels {
				return Errorf("a connection may subscribe to %d channels", mostChannels)
			}
			c.Subscribe(channel)
			return c.Send(channelMessage{"subscribed", channel})
		},
		"unsubscribe": func(_ context.Context, c *Connection, m Message) error {
			channel, err := m.channel()
			if err != nil {
				return err
			}
			c.Unsubscribe(channel)
			return c.Send(channelMessage{"unsubscribed", channel})
		},
	}
}

// What clients choose, and is kept, is bounded: the bytes of a channel's name, and the
// channels of a connection.
const (
	mostChannel  = 200
	mostChannels = 1000
)

func (c *Connection) subscriptions() (n int) {
	for range c.app.hub.RoomsOf(c.conn) {
		n++
	}
	return n
}

func (m Message) channel() (string, error) {
	var ask channelMessage
	if err := m.Decode(&ask); err != nil {
		return "", err
	}
	if ask.Channel == "" || len(ask.Channel) > mostChannel {
		return "", Errorf("a channel's name has 1 to %d bytes", mostChannel)
	}
	return ask.Channel, nil
}
