package filters

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/session"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Session lets a client keep data in Env.Sessions for longer than its connection lasts,
// by JSON objects in text messages, which no filter's OnMessage sees:
//
//	{"type":"session"}             answered by {"type":"session","id":"…","data":…}
//	{"type":"session","data":…}    keeps the data, and is answered in the same way
//
// Data is 64 KiB of JSON at the most; null is none, and forgets what was there. The id is
// the client's secret: who comes with the query parameter session=ID has that session, on
// any node that shares the store. An id that nobody has, or whose time is over, is
// answered with a new one. What is wrong is answered by {"type":"error","message":"…"}.
// WS_FILTER_SESSION_TTL, "24h" by default, is for how long data is kept after it was set.
func Session(env Env) (Filter, error) {
	s := &sessions{store: env.Sessions, ttl: defaultTTL, logger: env.Logger}
	if v := env.Getenv("WS_FILTER_SESSION_TTL"); v != "" {
		var err error
		if s.ttl, err = time.ParseDuration(v); err != nil || s.ttl < time.Second {
			return Filter{}, &engine.EnvError{Name: "WS_FILTER_SESSION_TTL", Value: v, Allowed: "a duration of 1s or more, like 24h"}
		}
	}
	return Filter{Handler: engine.Handler{Admit: s.admit}, Interceptors: []interceptors.Interceptor{s}}, nil
}

const (
	defaultTTL     = 24 * time.Hour
	mostSession    = 64 << 10
	mostAsked      = 16 // requests of one connection that wait for the store
	sessionIDBytes = 16
)

type sessions struct {
	interceptors.InboundOnly
	store  session.Store
	ttl    time.Duration
	logger *slog.Logger
}

// visit is what a connection has of a session.
type visit struct {
	mu    sync.Mutex
	asked []json.RawMessage // data to be set, nil to be read
	busy  bool

	// owned by whoever is busy
	id    string // "": a new one is to be made
	known bool   // the store has been asked for id
}

type visitKey struct{}

// admit takes the id, while the request is there.
func (s *sessions) admit(r *http.Request) error {
	id := r.URL.Query().Get("session")
	if raw, err := hex.DecodeString(id); id != "" && (err != nil || len(raw) != sessionIDBytes) {
		return &engine.HandshakeError{Status: http.StatusBadRequest, Reason: "session must be an id that a server has given"}
	}
	interceptors.ConnStore(r.Context()).Set(visitKey{}, &visit{id: id})
	return nil
}

// sessionMessage is a request and its answer.
type sessionMessage struct {
	Type string          `json:"type"`
	ID   string          `json:"id,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// InterceptInbound takes out what is for the session.
func (s *sessions) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	var m sessionMessage
	if in.Type != frame.Text || !bytes.Contains(in.Data, []byte(`"session"`)) || json.Unmarshal(in.Data, &m) != nil || m.Type != "session" {
		return next.Run(ctx, in)
	}
	c := engine.FromContext(ctx)
	if len(m.Data) > mostSession {
		return sayError(c, fmt.Sprintf("the data of a session has %d bytes at the most", mostSession))
	}
	return s.ask(c, c.Get(visitKey{}).(*visit), m.Data)
}

// ask leaves a request to a goroutine, for the store may have to be waited for.
func (s *sessions) ask(c *engine.Conn, v *visit, data json.RawMessage) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.asked) >= mostAsked {
		return sayError(c, "too many requests for the session at once")
	}
	v.asked = append(v.asked, data)
	if v.busy {
		return nil
	}
	err := c.Go(func(ctx context.Context) { s.serve(ctx, c, v) }) // until nothing is asked
	if err != nil {
		v.asked = nil
		return sayError(c, "the server is busy; try again later")
	}
	v.busy = true
	return nil
}

// serve answers what has been asked, in order.
func (s *sessions) serve(ctx context.Context, c *engine.Conn, v *visit) {
	for {
		v.mu.Lock()
		if len(v.asked) == 0 {
			v.busy = false
			v.mu.Unlock()
			return
		}
		data := v.asked[0]
		v.asked = v.asked[1:]
		v.mu.Unlock()
		s.answer(ctx, c, v, data)
	}
}

func (s *sessions) answer(ctx context.Context, c *engine.Conn, v *visit, data json.RawMessage) {
	held, err := s.carryOut(ctx, v, data)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.logger.Error("penstock: the store of sessions fails", "conn", c.ID(), "error", err)
		err = sayError(c, "sessions cannot be reached; try again later")
	} else {
		text, _ := json.Marshal(sessionMessage{Type: "session", ID: v.id, Data: held}) // held is valid
		err = c.Send(frame.Text, text)
	}
	if err != nil { // it has ended, or does not read what it has asked for
		s.logger.Debug("penstock: a session was not answered", "conn", c.ID(), "error", err)
	}
}

// carryOut returns what the session has afterwards.
func (s *sessions) carryOut(ctx context.Context, v *visit, data json.RawMessage) (json.RawMessage, error) {
	held, err := s.find(ctx, v)
	switch {
	case err != nil || data == nil:
		return held, err
	case string(data) == "null":
		return data, s.store.Delete(ctx, sessionKey(v.id))
	}
	return data, s.store.Set(ctx, sessionKey(v.id), data, s.ttl)
}

// find returns what there is. A client's id counts only if the store has it: nobody
// chooses the secret of another.
func (s *sessions) find(ctx context.Context, v *visit) (json.RawMessage, error) {
	if v.id == "" {
		v.renew()
		return json.RawMessage("null"), nil
	}
	held, err := s.store.Get(ctx, sessionKey(v.id))
	if errors.Is(err, session.ErrNotFound) {
		if !v.known {
			v.renew()
		}
		return json.RawMessage("null"), nil
	}
	v.known = v.known || err == nil
	return held, err
}

func (v *visit) renew() {
	id := make([]byte, sessionIDBytes)
	_, _ = rand.Read(id) // never fails
	v.id, v.known = hex.EncodeToString(id), true
}

// sessionKey is what the store has instead of the secret.
func sessionKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
