package auth

import (
	"context"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/interceptors"
)

// Identity is what a verified token says.
type Identity struct {
	User    string // who; also what interceptors.User returns
	Session string // which of the user's sessions: RevokeSession ends it
	Email   string
	Group   string // of a Secret

	// Claims are those of a JWT, numbers as json.Number. They are shared: never
	// change them.
	Claims map[string]any

	Issued  time.Time // zero: the token does not say
	Expires time.Time // zero: never
}

// From returns the identity of ctx's connection, or of the request that Admit is asked
// about, and whether it has one: anonymous connections have none.
func From(ctx context.Context) (Identity, bool) {
	return identityIn(interceptors.ConnStore(ctx))
}

// Of is From for a connection.
func Of(c *engine.Conn) (Identity, bool) { return identityIn(c) }

type sessionKey struct{}

func identityIn(s interceptors.Store) (Identity, bool) {
	if s == nil {
		return Identity{}, false
	}
	own, ok := s.Get(sessionKey{}).(*session)
	if !ok {
		return Identity{}, false
	}
	return *own.identity.Load(), true
}
