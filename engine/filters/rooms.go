package filters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Rooms lets clients join rooms and publish in them, by JSON objects in text messages:
//
//	{"type":"join","room":"r"}                  answered by {"type":"joined","room":"r"}
//	{"type":"leave","room":"r"}                 answered by {"type":"left","room":"r"}
//	{"type":"publish","room":"r","data":…}      to all members, the sender included:
//	{"type":"message","room":"r","data":…}
//
// Only members may publish. What is wrong is answered by {"type":"error","message":"…"}.
// A room's name has 1 to 200 bytes, and a connection is in 1000 rooms at the most. In a
// cluster rooms have members on every node.
func Rooms(env Env) (Filter, error) {
	g, err := env.groups("rooms", hub.Config{})
	if err != nil {
		return Filter{}, err
	}
	r := &rooms{groups: g, logger: env.Logger}
	return Filter{Handler: r.hub.Handler(engine.Handler{OnMessage: r.message})}, nil
}

// What History keeps of a room.
const (
	historyMessages = 1000
	historyBytes    = 1 << 20
)

// History is Rooms whose rooms keep their latest messages, 1000 of them, 1 MiB, for
// five minutes. A message has a position, and who joins with the last one that it has
// got gets what it has missed:
//
//	{"type":"join","room":"r","position":"1f-7"}
//	{"type":"message","room":"r","position":"1f-8","data":…}
//
// "0-0" is the beginning: everything that is kept. What is not kept any more is told by
//
//	{"type":"gap","room":"r","from":"1f-7","to":"1f-9"}
//
// in the place of the messages after from, up to and with to. Who publishes with an id, of
// 100 bytes at the most, is told when the message is kept:
//
//	{"type":"publish","room":"r","id":"7","data":…}
//	{"type":"published","room":"r","id":"7","position":"1f-8"}
//
// In a cluster whose broker has an archive, positions are the same on all nodes, and
// "published" says that the archive has the message. Without one, each node has a history
// of its own, and a position of another node's is a gap.
//
// WS_FILTER_HISTORY_BYTES, 256 MiB by default, is what all rooms may take together in this
// process: hub.Config.HistoryBytes.
func History(env Env) (Filter, error) {
	most := 0
	if v := env.Getenv("WS_FILTER_HISTORY_BYTES"); v != "" {
		var err error
		if most, err = strconv.Atoi(v); err != nil || most < historyBytes {
			return Filter{}, &engine.EnvError{Name: "WS_FILTER_HISTORY_BYTES", Value: v, Allowed: fmt.Sprintf("a whole number of bytes, %d or more, which is one room's", historyBytes)}
		}
	}
	g, err := env.groups("history", hub.Config{
		HistoryBytes: most,

		History:  func(string) hub.History { return hub.History{Messages: historyMessages, Bytes: historyBytes} },
		Envelope: appendPublished,
		Gap:      appendGap,
	})
	if err != nil {
		return Filter{}, err
	}
	r := &rooms{groups: g, logger: env.Logger, kept: true}
	return Filter{Handler: r.hub.Handler(engine.Handler{OnMessage: r.message})}, nil
}

func appendPublished(dst []byte, m hub.Published) []byte {
	return appendJSON(dst, roomMessage{Type: "message", Room: m.Room, Position: m.At.String(), Data: m.Payload})
}

func appendGap(dst []byte, room string, from, to hub.Position) ([]byte, hub.Opcode) {
	return appendJSON(dst, roomMessage{Type: "gap", Room: room, From: from.String(), To: to.String()}), frame.Text
}

// roomMessage is how all messages of both filters look on the wire.
type roomMessage struct {
	Type     string          `json:"type"`
	Room     string          `json:"room,omitempty"`
	ID       string          `json:"id,omitempty"`
	Position string          `json:"position,omitempty"`
	From     string          `json:"from,omitempty"`
	To       string          `json:"to,omitempty"`
	Message  string          `json:"message,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

func appendJSON(dst []byte, m roomMessage) []byte {
	text, _ := json.Marshal(m) // Data is valid, and the rest cannot fail
	return append(dst, text...)
}

type rooms struct {
	groups
	logger *slog.Logger
	kept   bool // there is a history
}

const (
	mostRoomName = 200
	mostID       = 100
	mostRooms    = 1000
)

func (r *rooms) message(ctx context.Context, c *engine.Conn, in engine.Message) error {
	var m roomMessage
	if in.Type != frame.Text || json.Unmarshal(in.Data, &m) != nil {
		return sayError(c, "a message must be a JSON object in text")
	}
	if m.Room == "" || len(m.Room) > mostRoomName {
		return sayError(c, fmt.Sprintf("room must be a name of 1 to %d bytes", mostRoomName))
	}
	switch m.Type {
	case "join":
		return r.join(c, m)
	case "leave":
		r.hub.Room(m.Room).Leave(c)
		return say(c, roomMessage{Type: "left", Room: m.Room})
	case "publish":
		return r.take(ctx, c, m)
	}
	return sayError(c, "type must be join, leave or publish")
}

const tooOften = "too many joins wait to be carried out: join again later"

func (r *rooms) join(c *engine.Conn, m roomMessage) error {
	room, n := r.hub.Room(m.Room), 0
	for range r.hub.RoomsOf(c) {
		n++
	}
	if n >= mostRooms {
		return sayError(c, fmt.Sprintf("a connection may be in %d rooms", mostRooms))
	}
	var after hub.Position
	if m.Position != "" {
		var err error
		if after, err = hub.ParsePosition(m.Position); err != nil || !r.kept {
			return sayError(c, "position is none of this server's")
		}
	}
	if m.Position == "" && !room.Join(c) && !room.Has(c) { // first, or whoever hears of it may publish before it
		return sayError(c, tooOften)
	}
	err := say(c, roomMessage{Type: "joined", Room: m.Room})
	if err == nil && m.Position != "" && !room.Resume(c, after) && !room.Has(c) { // what it has missed comes behind the answer
		return sayError(c, tooOften) // so it has not joined after all
	}
	return err
}

func (r *rooms) take(ctx context.Context, c *engine.Conn, m roomMessage) error {
	switch {
	case !r.hub.Room(m.Room).Has(c):
		return sayError(c, "join the room before publishing in it")
	case len(m.ID) > mostID:
		return sayError(c, fmt.Sprintf("id has %d bytes at the most", mostID))
	}
	if m.Data == nil {
		m.Data = json.RawMessage("null")
	}
	if r.kept {
		r.keep(ctx, c, m)
		return nil
	}
	err := r.broadcast(ctx, m.Room, frame.Text, appendJSON(nil, roomMessage{Type: "message", Room: m.Room, Data: m.Data}))
	if err != nil {
		return sayError(c, "the message is too big")
	}
	return nil
}

// keep publishes, if members can be sent what it becomes: with its position, and escaped,
// a message is longer than what its client has sent, and too late it would be a gap for all.
func (r *rooms) keep(ctx context.Context, c *engine.Conn, m roomMessage) {
	last := hub.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64}
	if len(appendPublished(nil, hub.Published{Room: m.Room, At: last, Payload: m.Data})) > c.Engine().MaxMessageBytes() {
		r.published(c, m, hub.Position{}, engine.ErrMessageTooBig)
		return
	}
	r.publish(ctx, m.Room, frame.Text, m.Data, func(at hub.Position, err error) { r.published(c, m, at, err) })
}

// published tells who has published what has become of it.
func (r *rooms) published(c *engine.Conn, m roomMessage, at hub.Position, err error) {
	answer := roomMessage{Type: "published", Room: m.Room, ID: m.ID, Position: at.String()}
	if err != nil {
		answer = roomMessage{Type: "error", ID: m.ID, Message: whyNotPublished(err)}
	} else if m.ID == "" { // it does not want to know
		return
	}
	if err := say(c, answer); err != nil { // it has ended, or does not read what it has asked for
		r.logger.Debug("penstock: a publisher was not answered", "conn", c.ID(), "error", err)
	}
}

func whyNotPublished(err error) string {
	switch {
	case errors.Is(err, cluster.ErrOutboxFull), errors.Is(err, engine.ErrCongested):
		return "too much waits to be kept; try again later"
	case errors.Is(err, cluster.ErrLeft):
		return "the server ends, and it is not known whether the message was kept"
	}
	return "the message is too big"
}

func say(c *engine.Conn, m roomMessage) error { return c.Send(frame.Text, appendJSON(nil, m)) }

func sayError(c *engine.Conn, text string) error {
	return say(c, roomMessage{Type: "error", Message: text})
}
