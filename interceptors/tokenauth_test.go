package interceptors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/interceptors"
)

var everySource = interceptors.TokenSources{Bearer: true, Header: "X-Token", Cookie: "session", Query: "t", Subprotocol: "token."}

// A11: where the token is found, whose it is, and what a refusal says.
func TestA11TokenAuth(t *testing.T) {
	users := map[string]string{"s3cret": "ann", "n3w": "ann", "other": "ben"}
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: users, Sources: everySource, Realm: `ch"at`})
	needed := interceptors.Refusal{Status: 401, Message: "a token is needed", Challenge: `Bearer realm="ch\"at"`}
	invalid := interceptors.Refusal{Status: 401, Message: "the token is not valid", Challenge: `Bearer realm="ch\"at"`}
	for name, c := range map[string]struct {
		target string
		header http.Header
		user   string
		err    error
	}{
		"none":                     {"/", nil, "", needed},
		"bearer":                   {"/", http.Header{"Authorization": {"Bearer s3cret"}}, "ann", nil},
		"bearer in small letters":  {"/", http.Header{"Authorization": {"bearer s3cret"}}, "ann", nil},
		"a second token":           {"/", http.Header{"Authorization": {"Bearer n3w"}}, "ann", nil},
		"another user":             {"/", http.Header{"Authorization": {"Bearer other"}}, "ben", nil},
		"header":                   {"/", http.Header{"X-Token": {"s3cret"}}, "ann", nil},
		"cookie":                   {"/", http.Header{"Cookie": {"a=b; session=s3cret"}}, "ann", nil},
		"query":                    {"/?t=s3cret", nil, "ann", nil},
		"subprotocol":              {"/", http.Header{"Sec-Websocket-Protocol": {"chat , token.s3cret"}}, "ann", nil},
		"another scheme":           {"/", http.Header{"Authorization": {"Basic s3cret"}}, "", needed},
		"another scheme, a query":  {"/?t=other", http.Header{"Authorization": {"Basic s3cret"}}, "ben", nil},
		"wrong":                    {"/", http.Header{"Authorization": {"Bearer wrong"}}, "", invalid},
		"a part":                   {"/?t=s3cre", nil, "", invalid},
		"more":                     {"/?t=s3cret2", nil, "", invalid},
		"empty":                    {"/?t=", nil, "", invalid},
		"empty bearer":             {"/", http.Header{"Authorization": {"Bearer"}}, "", invalid},
		"the first source decides": {"/?t=s3cret", http.Header{"X-Token": {"wrong"}}, "", invalid},
		"two lines":                {"/", http.Header{"Authorization": {"Bearer s3cret", "Bearer s3cret"}}, "", invalid},
		"two headers":              {"/", http.Header{"X-Token": {"s3cret", "s3cret"}}, "", invalid},
		"two cookies":              {"/", http.Header{"Cookie": {"session=s3cret; session=other"}}, "", invalid},
		"two parameters":           {"/?t=s3cret&t=other", nil, "", invalid},
		"two subprotocols":         {"/", http.Header{"Sec-Websocket-Protocol": {"token.s3cret", "token.x"}}, "", invalid},
	} {
		t.Run(name, func(t *testing.T) {
			conn := newConn(t)
			err := auth.Admit(request(conn, c.target, c.header))
			assert.Equal(t, c.err, err)
			assert.Equal(t, c.user, interceptors.User(conn))
		})
	}
}

// What is not configured is not looked at; by default the header and the query are.
func TestTokenAuthSourcesAreChosen(t *testing.T) {
	with := map[string]struct {
		target string
		header http.Header
	}{
		"Bearer":      {"/", http.Header{"Authorization": {"Bearer s3cret"}}},
		"Header":      {"/", http.Header{"X-Token": {"s3cret"}}},
		"Cookie":      {"/", http.Header{"Cookie": {"session=s3cret"}}},
		"Query":       {"/?t=s3cret", nil},
		"Subprotocol": {"/", http.Header{"Sec-Websocket-Protocol": {"token.s3cret"}}},
		"default":     {"/?token=s3cret", nil},
	}
	for want, sources := range map[string]interceptors.TokenSources{
		"Bearer": {Bearer: true}, "Header": {Header: "x-token"}, "Cookie": {Cookie: "session"}, "Query": {Query: "t"}, "Subprotocol": {Subprotocol: "token."},
	} {
		auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"s3cret": "ann"}, Sources: sources})
		for place, r := range with {
			assert.Equal(t, place == want, auth.Admit(request(newConn(t), r.target, r.header)) == nil, "%s from %s", place, want)
		}
	}
	byDefault := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"s3cret": "ann"}})
	for place, r := range with {
		assert.Equal(t, place == "Bearer" || place == "default", byDefault.Admit(request(newConn(t), r.target, r.header)) == nil, "%s by default", place)
	}
}

func TestTokenAuthLookup(t *testing.T) {
	var records capture
	outcomes := map[string]error{
		"down":    errors.New("GET /users?token=down: connection refused"),
		"blocked": interceptors.Refuse(403, "you may not"),
	}
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{
		Logger: slog.New(&records),
		Lookup: func(ctx context.Context, token string) (string, error) {
			if interceptors.ConnStore(ctx) == nil {
				return "", errors.New("not the request's context")
			}
			if token == "s3cret" {
				return "ann", nil
			}
			return "", outcomes[token]
		},
	})
	conn := newConn(t)
	require.NoError(t, auth.Admit(request(conn, "/?token=s3cret", nil)))
	assert.Equal(t, "ann", interceptors.User(conn))

	assert.Equal(t, interceptors.Refusal{Status: 401, Message: "the token is not valid", Challenge: "Bearer"}, auth.Admit(request(newConn(t), "/?token=unknown", nil)))
	assert.Equal(t, outcomes["blocked"], auth.Admit(request(newConn(t), "/?token=blocked", nil)))
	assert.Empty(t, records.list)
	assert.Equal(t, interceptors.Refuse(503, "authentication is not possible at the moment"), auth.Admit(request(newConn(t), "/?token=down", nil)))
	require.Len(t, records.list, 1)
	assert.Equal(t, map[string]any{"error": "GET /users?token=[token]: connection refused"}, records.list[0].attrs)
}

// Neither a refusal nor a log nor a panic repeats a token.
func TestTokenAuthNeverTellsATokenInPanics(t *testing.T) {
	lookup := func(context.Context, string) (string, error) { return "", nil }
	for _, config := range []interceptors.TokenAuthConfig{
		{},
		{Users: map[string]string{"s3cret": "ann"}, Lookup: lookup},
		{Users: map[string]string{"": "ann", "s3cret": "ann"}},
		{Users: map[string]string{"s3cret": ""}},
	} {
		message := panicOf(t, func() { interceptors.TokenAuth(config) })
		assert.Contains(t, message, "TokenAuthConfig")
		assert.NotContains(t, message, "s3cret")
	}
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"s3cret": "ann"}})
	assert.NotContains(t, fmt.Sprint(auth.Admit(request(newConn(t), "/?token=s3cretsauce", nil))), "s3cret")
}

// Every bit of a token counts.
func TestTokenAuthComparesAll(t *testing.T) {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"s3cret": "ann", "other": "ben"}})
	for i := range 5000 {
		require.Error(t, auth.Admit(request(newConn(t), fmt.Sprint("/?token=", i), nil)))
	}
}

// An empty token is not asked about: a lookup may find it in a row without one.
func TestTokenAuthLookupIsNotAskedForAnEmptyToken(t *testing.T) {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Lookup: func(context.Context, string) (string, error) { return "anybody", nil }})
	require.Error(t, auth.Admit(request(newConn(t), "/?token=", nil)))
	require.Error(t, auth.Admit(request(newConn(t), "/?token=a&token=b", nil)))
	require.Error(t, auth.Admit(request(newConn(t), "/", nil)))
	require.NoError(t, auth.Admit(request(newConn(t), "/?token=a", nil)))
}

// No user at all is not the same as nothing to check by.
func TestTokenAuthWithoutUsersRefusesAll(t *testing.T) {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{}})
	require.Error(t, auth.Admit(request(newConn(t), "/?token=x", nil)))
	require.Error(t, auth.Admit(request(newConn(t), "/?token=", nil)))
}
