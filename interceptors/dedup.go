package interceptors

import (
	"context"
	"net/http"
	"time"
)

// DedupConfig configures [Dedup]. All but ID may be left zero.
type DedupConfig struct {
	// ID returns the id of a message, "" if it has none: then it passes. It must be set.
	// The message's bytes are borrowed: valid until it returns.
	ID func(in Inbound) string

	// Window is how many ids are remembered, in some 80 bytes each, whatever their length.
	// Default 128. At the limit the oldest is forgotten.
	Window int

	// Age is how long an id is remembered. Default 5 min.
	Age time.Duration

	// PerUser remembers ids for all connections of a user (see [SetUser]) together, beyond
	// the life of each: what a client sends once more after it has reconnected is a
	// duplicate. Default, and for connections without a user: for each connection, kept
	// with it.
	PerUser bool

	// MaxUsers is how many users' ids are remembered. Default 4096. At the limit those of
	// the user are forgotten who has sent nothing for the longest time. Not used without
	// PerUser.
	MaxUsers int

	// Answer refuses duplicates, with 409. Default: they are dropped, and the peer is told
	// nothing.
	Answer bool
}

// Dedup returns an interceptor that lets one text or binary message of each id through.
// An id counts from when its message begins to be handled; if that fails, with an error
// or a panic, the message may be sent again. It is a help against retries, not a
// promise: what has been forgotten passes once more, and so does everything after a
// restart.
func Dedup(config DedupConfig) Interceptor {
	if config.ID == nil {
		panic("interceptors: DedupConfig.ID is nil: it must return a message's id")
	}
	config.Window = positive("DedupConfig.Window", config.Window, 128)
	config.Age = positive("DedupConfig.Age", config.Age, 5*time.Minute)
	config.MaxUsers = positive("DedupConfig.MaxUsers", config.MaxUsers, 4096)
	d := &dedup{config: config, prints: newFingerprints()}
	d.users.most = config.MaxUsers
	if config.Answer {
		d.duplicate = Refuse(http.StatusConflict, "duplicate")
	}
	return d
}

type dedup struct {
	Passthrough
	config    DedupConfig
	prints    fingerprints
	users     windows
	duplicate error // nil: a duplicate is dropped
}

func (*dedup) kinds() Kinds { return InboundData }

func (d *dedup) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	id := d.config.ID(in)
	if id == "" {
		return next.Run(ctx, in)
	}
	w, print := d.windowOf(ctx), d.prints.of(id)
	if !w.add(print, time.Now(), d.config.Window, d.config.Age) {
		return d.duplicate
	}
	handled := false
	defer func() {
		if !handled { // also after a panic
			w.forget(print)
		}
	}()
	err := next.Run(ctx, in)
	handled = err == nil
	return err
}

// windowOf returns where the ids of ctx's connection, or of its user, are remembered.
func (d *dedup) windowOf(ctx context.Context) *window {
	store := ConnStore(ctx)
	if d.config.PerUser {
		if user := User(ctx); user != "" {
			return d.users.of(d.prints.of(user))
		}
	}
	if store == nil { // no connection: all that have none share one window
		return d.users.of(fingerprint{})
	}
	w, _ := store.Get(d).(*window)
	if w == nil { // messages of one connection come one at a time
		w = new(window)
		store.Set(d, w)
	}
	return w
}
