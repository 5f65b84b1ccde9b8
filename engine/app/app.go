package app

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// App is one app: its endpoints, and the manager of its connections. Any goroutine may
// call its methods.
type App struct {
	// immutable
	apps      *Apps
	manifest  Manifest
	hub       *hub.Hub
	endpoints []*endpoint

	conns sync.Map // Connection.ID: *Connection

	mu      sync.Mutex
	mounted bool // the endpoints' handlers do not change any more
}

// An endpoint is an Endpoint made ready.
type endpoint struct {
	Endpoint
	a       *App
	pattern string
	auth    interceptors.Interceptor // nil: everybody is anonymous
	handler Handler                  // nil: none
}

func newApp(s *Apps, m Manifest) *App {
	m.Endpoints = slices.Clone(m.Endpoints)
	a := &App{apps: s, manifest: m, hub: hub.New(s.e, hub.Config{})}
	for _, declared := range m.Endpoints {
		ep := &endpoint{Endpoint: declared, a: a, pattern: s.cfg.Prefix(m.Slug) + declared.Path}
		if s.cfg.Auth != nil {
			ep.auth = s.cfg.Auth(m.Slug, declared.Name)
		}
		a.endpoints = append(a.endpoints, ep)
	}
	return a
}

// String tells app and endpoint.
func (ep *endpoint) String() string { return ep.a.manifest.Slug + "/" + ep.Name }

// Manifest returns what the app has declared.
func (a *App) Manifest() Manifest {
	m := a.manifest
	m.Endpoints = slices.Clone(m.Endpoints)
	return m
}

// Mount puts the app's endpoints on r. Handlers must be registered before. An endpoint
// without a handler only sends: what comes in is answered with an error.
func (a *App) Mount(r Router) {
	a.mu.Lock()
	a.mounted = true
	a.mu.Unlock()
	for _, ep := range a.endpoints {
		r.Handle(ep.pattern, a.apps.e.Endpoint(ep.forEngine()))
	}
}

func (a *App) handle(endpoint string, h Handler) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for _, ep := range a.endpoints {
		names = append(names, ep.Name)
		if ep.Name != endpoint {
			continue
		}
		switch {
		case h == nil:
			return fmt.Errorf("app: the handler of %s is nil", ep)
		case a.mounted:
			return fmt.Errorf("%s: %w", ep, ErrMounted)
		case ep.handler != nil:
			return fmt.Errorf("%s: %w", ep, ErrHandled)
		}
		ep.handler = h
		return nil
	}
	return &UnknownError{"endpoint of " + a.manifest.Slug, endpoint, names}
}

func (ep *endpoint) forEngine() engine.Endpoint {
	handler := ep.a.hub.Handler(engine.Handler{Admit: ep.admit, OnMessage: ep.message, OnClose: ep.close})
	enter := handler.OnOpen
	handler.OnOpen = func(ctx context.Context, c *engine.Conn) error { // no broadcast comes before the confirmation
		if err := ep.open(c); err != nil {
			return err
		}
		return enter(ctx, c)
	}
	e := engine.Endpoint{
		Handler:      handler,
		PingInterval: ep.PingInterval,
		IdleTimeout:  ep.PingInterval * 5 / 2,
	}
	if ep.auth != nil {
		e.Interceptors = []interceptors.Interceptor{ep.auth}
	}
	return e
}

// admit comes after the interceptors' Admit, so that the user is known.
func (ep *endpoint) admit(r *http.Request) error {
	if ep.AuthRequired && interceptors.User(r.Context()) == "" {
		return &engine.HandshakeError{
			Status: http.StatusUnauthorized, Reason: "authentication is required",
			Header: http.Header{"Www-Authenticate": {"Bearer"}},
		}
	}
	return nil
}

type connectionKey struct{}

func (ep *endpoint) open(c *engine.Conn) error {
	conn := &Connection{
		ID: strconv.FormatUint(c.ID(), 10), AppSlug: ep.a.manifest.Slug, Endpoint: ep.Name,
		UserID: interceptors.User(c.Context()), ConnectedAt: time.Now(), conn: c, app: ep.a,
	}
	if email := ep.a.apps.cfg.Email; email != nil {
		conn.UserEmail = email(c)
	}
	c.Set(connectionKey{}, conn)
	ep.a.conns.Store(conn.ID, conn)
	return conn.Send(confirmation{
		Type: "connected", Endpoint: ep.Name, ConnectionID: conn.ID, Authenticated: conn.UserID != "",
		UserID: conn.UserID, ConnectedAt: conn.ConnectedAt.UTC().Format(time.RFC3339),
	})
}

// A confirmation is the first message that a client gets.
type confirmation struct {
	Type          string `json:"type"`
	Endpoint      string `json:"endpoint"`
	ConnectionID  string `json:"connection_id"`
	Authenticated bool   `json:"authenticated"`
	UserID        string `json:"user_id,omitempty"`
	ConnectedAt   string `json:"connected_at"`
}

func (ep *endpoint) close(c *engine.Conn, _ *engine.CloseError) {
	if conn, ok := c.Get(connectionKey{}).(*Connection); ok {
		ep.a.conns.Delete(conn.ID)
	}
}

// All returns the app's connections, on all endpoints.
func (a *App) All() Group { return Group{a, a.hub.All()} }

// User returns those of a user.
func (a *App) User(user string) Group { return Group{a, a.hub.User(user)} }

// Channel returns those that have subscribed to a channel.
func (a *App) Channel(name string) Group { return Group{a, a.hub.Room(name).Group} }

// Users yields the users that are connected, in no order.
func (a *App) Users() iter.Seq[string] { return a.hub.Users() }

// Connection returns the open connection with an ID, or nil.
func (a *App) Connection(id string) *Connection {
	conn, _ := a.conns.Load(id)
	c, _ := conn.(*Connection)
	return c
}

// Group is some of an app's connections, and never one of another app's.
type Group struct {
	a *App
	g hub.Group
}

// Len returns how many there are, in constant time.
func (g Group) Len() int { return g.g.Len() }

// Connections yields them, in no order. No lock is held meanwhile.
func (g Group) Connections() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		for c := range g.g.Conns() {
			if !yield(c.Get(connectionKey{}).(*Connection)) { // which it was before the hub had it
				return
			}
		}
	}
}

// Broadcast sends a message, which must be a JSON object or a value that encoding/json
// makes one of, to all of them, with the app's slug as "app_slug". It waits for none;
// see hub.Group.Broadcast. The error is ErrNotObject, that of encoding it, or
// engine.ErrMessageTooBig; then nobody has got it.
func (g Group) Broadcast(ctx context.Context, message any) (engine.Tally, error) {
	text, err := g.a.encode(message)
	if err != nil {
		return engine.Tally{}, err
	}
	return g.g.Broadcast(ctx, frame.Text, text)
}
