package filters

import (
	"log/slog"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/interceptors"
)

// Filter is one behaviour of an endpoint. Its zero value does nothing.
//
// Filters run in the order in which they were named, hook by hook: the
// interceptors of all filters first, then every OnMessage, and so on. The first
// error of an Admit, OnOpen or OnMessage ends the row for that request, connection
// or message, and means what it means to the engine. OnDrain runs for every
// filter. So does OnClose, even if one before it panics; but if an OnOpen failed,
// the filters after it were never opened, and are not closed.
type Filter struct {
	// Handler holds the hooks, any of which may be nil.
	Handler engine.Handler

	// Interceptors see every message before any filter's OnMessage.
	Interceptors []interceptors.Interceptor
}

// Env is what a Constructor may use.
type Env struct {
	// Engine is the engine that the endpoint is made for. Required.
	Engine *engine.Engine

	// Hub holds the endpoint's connections: each has joined before the first
	// OnOpen and has left before the first OnClose. Default: a new one, so that
	// a program which wants to look into it passes its own.
	Hub *hub.Hub

	// Logger is for what an operator must know. Default: slog.Default().
	Logger *slog.Logger
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
	if e.Logger == nil {
		e.Logger = slog.Default()
	}
}
