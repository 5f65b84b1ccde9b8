package filters

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/engine/session"
	"github.com/penstock-ws/penstock/interceptors"
)

// Filter is one behaviour of an endpoint. Its zero value does nothing.
//
// Filters run in the order in which they were named, hook by hook: the
// interceptors of all filters first, then every OnMessage, and so on. The first
// error of an Admit, OnOpen or OnMessage ends the row for that request, connection
// or message, and means what it means to the engine. OnDrain runs for every
// filter, and so do OnData and OnDrop. So does OnClose, even if one before it panics;
// but if an OnOpen failed, the filters after it were never opened, and are not closed.
type Filter struct {
	// Handler holds the hooks, any of which may be nil.
	Handler engine.Handler

	// Interceptors see every message before any filter's OnMessage.
	Interceptors []interceptors.Interceptor

	// OnConsume sees what is put to a connection from outside (Env.Put), before it is
	// sent. Replace m.Data, by bytes of your own, to have something else sent to this
	// connection; never write into it. An error keeps the message from the connection,
	// and the filters after this one do not see it. It runs on the goroutine of the
	// source, beside the connection's other hooks, and delays all whose turn comes later.
	OnConsume func(ctx context.Context, c *engine.Conn, m *engine.Message) error
}

// Env is what a Constructor may use.
type Env struct {
	// Engine is the engine that the endpoint is made for. Required.
	Engine *engine.Engine

	// Hub holds the endpoint's connections: each has joined before the first
	// OnOpen and has left before the first OnClose. Default: a new one, so that
	// a program which wants to look into it passes its own.
	Hub *hub.Hub

	// Node is a cluster's node whose hub is Hub. Nil: there is no cluster.
	Node *cluster.Node

	// Join makes another node of the cluster, for a filter with a hub of its own: name is
	// the filter's, and cfg says what the filter wants. Nil: there is no cluster.
	Join func(name string, cfg cluster.Config) (*cluster.Node, error)

	// Channels are the plain channels of BroadcastPubSub.
	Channels []string

	// Sessions keeps what clients want to find again. Default: a new session.Memory.
	Sessions session.Store

	// Logger is for what an operator must know. Default: slog.Default().
	Logger *slog.Logger

	// Stdout is where filters print that are made for it. Default: os.Stdout.
	Stdout io.Writer

	// Getenv returns a setting that a filter has in the environment, "" if it is not
	// set. Default: os.Getenv.
	Getenv func(name string) string

	// Context ends when what a constructor has started must end. Default:
	// context.Background().
	Context context.Context

	// Put puts messages from outside to connections. Build sets it; constructors may
	// keep it, and before Build has returned it reaches nobody.
	Put PutFunc
}

// Constructor makes a filter for one endpoint. An error says what is missing or
// wrong, such as a setting; nothing is started then.
type Constructor func(env Env) (Filter, error)

func (e *Env) setDefaults() {
	if e.Engine == nil {
		panic("filters: Env.Engine is nil; make one with engine.New first")
	}
	if e.Hub == nil {
		e.Hub = hub.New(e.Engine, hub.Config{})
	}
	if e.Sessions == nil {
		e.Sessions = new(session.Memory)
	}
	if e.Logger == nil {
		e.Logger = slog.Default()
	}
	if e.Stdout == nil {
		e.Stdout = os.Stdout
	}
	if e.Getenv == nil {
		e.Getenv = os.Getenv
	}
	if e.Context == nil {
		e.Context = context.Background()
	}
}
