package interceptors

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// TokenAuthConfig configures [TokenAuth]. Either Users or Lookup must be set.
type TokenAuthConfig struct {
	// Users has the user of each token. A user may have several, all of which are valid:
	// to replace one, add the new and take the old away when nobody uses it any more.
	Users map[string]string

	// Lookup returns the user of a token, "" if it is not valid, or an error if it cannot
	// tell: a [Refusal] is answered as it is, any other with 503. It runs on the goroutine
	// of the request, with its context.
	Lookup func(ctx context.Context, token string) (user string, err error)

	// Sources are where a token may be. Default: the Authorization header, then the query
	// parameter "token".
	Sources TokenSources

	// Realm, unless empty, is named in the challenge of a 401.
	Realm string

	// Logger receives the errors of Lookup, without the token. Default: slog.Default at
	// the time of the call of TokenAuth.
	Logger *slog.Logger
}

// TokenAuth returns an interceptor that refuses handshakes without a valid token, with
// 401 and a challenge, and makes the token's user the connection's: [User] returns it from
// then on. It is for servers. Messages pass it by.
//
// Tokens are compared by their SHA-256, all of them, in constant time: how long a refusal
// takes tells nothing about how near the token was. It never logs or repeats one. It
// panics if there is nothing that a token could be valid by, and on an empty token or user.
func TokenAuth(config TokenAuthConfig) Interceptor {
	if (config.Users == nil) == (config.Lookup == nil) {
		panic("interceptors: TokenAuthConfig needs Users or Lookup, and not both")
	}
	if config.Sources == (TokenSources{}) {
		config.Sources = TokenSources{Bearer: true, Query: "token"}
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	t := &tokenAuth{lookup: config.Lookup, sources: config.Sources, log: config.Logger, challenge: "Bearer"}
	if config.Realm != "" {
		t.challenge += " realm=" + strconv.Quote(config.Realm)
	}
	if t.lookup == nil {
		t.lookup = newTokens(config.Users).lookup
	}
	return t
}

type tokenAuth struct {
	Passthrough
	lookup    func(context.Context, string) (string, error)
	sources   TokenSources
	log       *slog.Logger
	challenge string
}

func (*tokenAuth) kinds() Kinds { return 0 }

// Admit sets the user, or refuses.
func (t *tokenAuth) Admit(r *http.Request) error {
	token, found := t.sources.Find(r)
	if !found {
		return t.refuse("a token is needed")
	}
	if token == "" {
		return t.refuse("the token is not valid")
	}
	user, err := t.lookup(r.Context(), token)
	if err != nil {
		return t.failed(r.Context(), err, token)
	}
	if user == "" {
		return t.refuse("the token is not valid")
	}
	SetUser(r.Context(), user)
	return nil
}

func (t *tokenAuth) refuse(message string) error {
	return Refusal{Status: http.StatusUnauthorized, Message: message, Challenge: t.challenge}
}

func (t *tokenAuth) failed(ctx context.Context, err error, token string) error {
	if _, ok := errors.AsType[Refusal](err); ok {
		return err
	}
	t.log.ErrorContext(ctx, "websocket token lookup failed", "error", strings.ReplaceAll(err.Error(), token, "[token]"))
	return Refuse(http.StatusServiceUnavailable, "authentication is not possible at the moment")
}

// tokens are the digests of all valid tokens, and whose they are.
type tokens struct {
	digests Digests
	users   []string
}

func newTokens(byToken map[string]string) *tokens {
	t := new(tokens)
	for token, user := range byToken {
		switch {
		case token == "":
			panic("interceptors: TokenAuthConfig.Users has an empty token: is a variable of the environment not set?")
		case user == "":
			panic("interceptors: TokenAuthConfig.Users has a token with an empty user: give it one")
		}
		t.digests.Add(token)
		t.users = append(t.users, user)
	}
	return t
}

func (t *tokens) lookup(_ context.Context, token string) (string, error) {
	if at := t.digests.Find(token); at >= 0 {
		return t.users[at], nil
	}
	return "", nil
}
