package filters

import (
	"context"
	"crypto/sha256"
	"net/http"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/interceptors"
)

// BroadcastMessagesByToken sends every message to the connections whose clients have
// come with the same token as the sender's, the sender's included: whoever knows a
// token is in its group, on every node of a cluster. The token is that of the header
// Authorization (Bearer), or else the query parameter token; without one, or with two in
// one place, a client is refused with 401. Tokens are kept as hashes, and never logged.
func BroadcastMessagesByToken(env Env) (Filter, error) {
	groups, err := env.groups("tokens", hub.Config{})
	if err != nil {
		return Filter{}, err
	}
	sources := interceptors.TokenSources{Bearer: true, Query: "token"}
	return Filter{Handler: groups.hub.Handler(engine.Handler{
		Admit: func(r *http.Request) error {
			token, _ := sources.Find(r)
			if token == "" {
				return &engine.HandshakeError{
					Status: http.StatusUnauthorized, Reason: "a token is required, as Authorization: Bearer or ?token=",
					Header: http.Header{"Www-Authenticate": {"Bearer"}},
				}
			}
			sum := sha256.Sum256([]byte(token))
			interceptors.ConnStore(r.Context()).Set(groupKey{}, string(sum[:]))
			return nil
		},
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			groups.hub.Room(c.Get(groupKey{}).(string)).Join(c)
			return nil
		},
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			return groups.broadcast(ctx, c.Get(groupKey{}).(string), m.Type, m.Data)
		},
	})}, nil
}

type groupKey struct{}
