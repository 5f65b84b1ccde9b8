package filters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/penstock-ws/penstock/engine"
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
// A room's name has 1 to 200 bytes, and a connection is in 1000 rooms at the most.
func Rooms(env Env) (Filter, error) {
	r := &rooms{hub: hub.New(env.Engine, hub.Config{})}
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
// in the place of the messages after from, up to and with to.
func History(env Env) (Filter, error) {
	r := &rooms{kept: true}
	r.hub = hub.New(env.Engine, hub.Config{
		History:  func(string) hub.History { return hub.History{Messages: historyMessages, Bytes: historyBytes} },
		Envelope: appendPublished,
		Gap:      appendGap,
		Logger:   env.Logger,
	})
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
	hub  *hub.Hub
	kept bool // there is a history
}

const (
	mostRoomName = 200
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
		return r.publish(ctx, c, m)
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

func (r *rooms) publish(ctx context.Context, c *engine.Conn, m roomMessage) (err error) {
	room := r.hub.Room(m.Room)
	if !room.Has(c) {
		return sayError(c, "join the room before publishing in it")
	}
	if m.Data == nil {
		m.Data = json.RawMessage("null")
	}
	if r.kept {
		err = r.keep(ctx, c, room, m.Data)
	} else {
		_, err = room.Broadcast(ctx, frame.Text, appendJSON(nil, roomMessage{Type: "message", Room: m.Room, Data: m.Data}))
	}
	switch {
	case errors.Is(err, engine.ErrCongested):
		return sayError(c, "the room has more messages than can be sent: publish it again later")
	case err != nil:
		return sayError(c, "the message is too big")
	}
	return nil
}

// keep publishes, if members can be sent what it becomes: with its position, and escaped,
// a message is longer than what its client has sent, and too late it would be a gap for all.
func (r *rooms) keep(ctx context.Context, c *engine.Conn, room hub.Room, data []byte) error {
	last := hub.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64}
	if len(appendPublished(nil, hub.Published{Room: room.Name(), At: last, Payload: data})) > c.Engine().MaxMessageBytes() {
		return engine.ErrMessageTooBig
	}
	_, err := room.Publish(ctx, frame.Text, data)
	return err
}

func say(c *engine.Conn, m roomMessage) error { return c.Send(frame.Text, appendJSON(nil, m)) }

func sayError(c *engine.Conn, text string) error {
	return say(c, roomMessage{Type: "error", Message: text})
}
