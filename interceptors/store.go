package interceptors

import "context"

// Store keeps values for the life of a connection: an engine's connection is one.
// Any goroutine may call its methods.
type Store interface {
	Get(key any) any        // nil: there is none
	Set(key any, value any) // nil deletes
}

// StoreKey is the key under which a context of a connection has its [Store] as a
// value. It is for those who make such contexts, and tests; others call [ConnStore].
type StoreKey struct{}

// ConnStore returns the store of the connection that ctx belongs to: the context of a
// run, of the connection, or of the request that Admit is asked about. nil: it
// belongs to none.
func ConnStore(ctx context.Context) Store {
	s, _ := ctx.Value(StoreKey{}).(Store)
	return s
}

type userKey struct{}

// SetUser makes user, an id of the application's own, the user of ctx's connection.
// Authentication calls it, in Admit or when the first message has come.
func SetUser(ctx context.Context, user string) {
	if s := ConnStore(ctx); s != nil {
		s.Set(userKey{}, user)
	}
}

// User returns the user of ctx's connection, or "" if nobody has set one.
func User(ctx context.Context) string {
	s := ConnStore(ctx)
	if s == nil {
		return ""
	}
	user, _ := s.Get(userKey{}).(string)
	return user
}
