package auth

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// interceptor is an Auth in a chain.
type interceptor struct {
	interceptors.InboundOnly
	a *Auth
}

// Admit authenticates a handshake, and takes its token out of it.
func (i interceptor) Admit(r *http.Request) error {
	a := i.a
	if r.RequestURI == "" { // as of requests that are sent
		return errors.New("auth: this is for servers: register it with endpoints, not with connections that are dialled")
	}
	p, err := extract(r, a.cfg.Sources, a.cfg.MaxTokenBytes)
	var id Identity
	switch {
	case err != nil:
	case p.token != "":
		id, err = a.verify(p.token, time.Now())
	case a.cfg.AllowAnonymous:
		return nil
	default:
		err = ErrNoToken
	}
	if err != nil {
		return a.refuse(r, p.source, id, err)
	}
	s := &session{}
	s.identity.Store(&id)
	opened := func(c *engine.Conn) error { return a.opened(s, c, p.source) }
	if !engine.Attend(r.Context(), opened, func(*engine.Conn) { a.sessions.close(s) }) {
		return errors.New("auth: Admit was not called by an engine")
	}
	store := interceptors.ConnStore(r.Context())
	store.Set(sessionKey{}, s)
	store.Set(a, s)
	interceptors.SetUser(r.Context(), id.User)
	return nil
}

// opened begins the session, or closes the connection.
func (a *Auth) opened(s *session, c *engine.Conn, from Source) error {
	if from.isCookie() && slices.ContainsFunc(c.Engine().AllowedOrigins(), tooOpen) {
		a.cfg.Logger.Error("auth: the engine's AllowedOrigins are more open than those that New was given; cookies are refused")
		return a.closeError(ErrInvalid)
	}
	if err := a.sessions.begin(s, c); err != nil {
		return a.closeError(err)
	}
	return nil
}

// refuse logs why, and returns the error for the engine or, with CloseAfterUpgrade, nil
// for a connection that ends when it opens.
func (a *Auth) refuse(r *http.Request, from Source, id Identity, err error) error {
	a.log("auth: handshake refused", err, id, "remote", r.RemoteAddr, "source", from.String())
	if a.cfg.CloseAfterUpgrade {
		opened := func(*engine.Conn) error { return a.closeError(err) }
		if engine.Attend(r.Context(), opened, func(*engine.Conn) {}) {
			return nil
		}
	}
	return &refusal{answer(err), err}
}

// refusal is a *engine.HandshakeError, and also why.
type refusal struct {
	*engine.HandshakeError
	why error
}

func (r *refusal) Unwrap() []error { return []error{r.HandshakeError, r.why} }

// told is what a peer learns: only the owner of a good token can tell that it has
// expired, and everything else that is wrong with a token is the same.
func told(err error) (status int, text string) {
	switch {
	case errors.Is(err, ErrNoToken):
		return http.StatusUnauthorized, "authentication required"
	case errors.Is(err, ErrExpired):
		return http.StatusUnauthorized, "token expired"
	case errors.Is(err, ErrMalformed):
		return http.StatusBadRequest, "malformed token"
	case errors.Is(err, ErrTwoTokens):
		return http.StatusBadRequest, "two tokens"
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrOtherUser):
		return http.StatusForbidden, "not allowed"
	}
	return http.StatusUnauthorized, "token refused"
}

// answer has the header of RFC 6750 §3.
func answer(err error) *engine.HandshakeError {
	status, text := told(err)
	h := &engine.HandshakeError{Status: status, Reason: text, Header: make(http.Header)}
	switch {
	case errors.Is(err, ErrNoToken):
		h.Header.Set("WWW-Authenticate", "Bearer")
	case status == http.StatusUnauthorized:
		h.Header.Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, error_description=%q", "invalid_token", text))
	case status == http.StatusBadRequest:
		h.Header.Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, error_description=%q", "invalid_request", text))
	}
	return h
}

// closeError is what a connection ends with.
func (a *Auth) closeError(err error) *engine.CloseError {
	_, text := told(err)
	return &engine.CloseError{Code: a.code(err), Reason: text}
}

func (a *Auth) code(err error) frame.CloseCode {
	switch {
	case errors.Is(err, ErrForbidden):
		return a.cfg.Codes.Forbidden
	case errors.Is(err, ErrExpired):
		return a.cfg.Codes.Expired
	case errors.Is(err, ErrRevoked):
		return a.cfg.Codes.Revoked
	}
	return a.cfg.Codes.Refused
}

// end closes an open connection. The program's interceptors see that and may panic.
func (a *Auth) end(c *engine.Conn, why error) {
	defer func() {
		if p := recover(); p != nil {
			a.cfg.Logger.Error("auth: closing a connection panicked", "conn", c.ID(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	_, text := told(why)
	_ = c.Close(a.code(why), text) // an error says that it has ended
}
