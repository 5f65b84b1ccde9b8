package auth

import "errors"

// Why a token, or a handshake without one, was refused. errors.Is finds them in what
// Admit and [Auth.Verify] return. No error has a part of the token in it.
var (
	// ErrNoToken: there is none, and AllowAnonymous is not set. 401.
	ErrNoToken = errors.New("auth: no token")

	// ErrMalformed: a token that cannot be read at all, or is longer than
	// MaxTokenBytes. 400.
	ErrMalformed = errors.New("auth: malformed token")

	// ErrTwoTokens: several that differ. 400.
	ErrTwoTokens = errors.New("auth: tokens that differ")

	// ErrInvalid: no verifier takes it. 401.
	ErrInvalid = errors.New("auth: invalid token")

	// ErrExpired: it was valid. 401.
	ErrExpired = errors.New("auth: token expired")

	// ErrRevoked: RevokeUser or RevokeSession has been called since it was issued. 401.
	ErrRevoked = errors.New("auth: token revoked")

	// ErrForbidden: Allow has refused its user. 403.
	ErrForbidden = errors.New("auth: not allowed")

	// ErrOtherUser: a refresh with the token of somebody else. 403.
	ErrOtherUser = errors.New("auth: token of another user")
)

// A reason is what an operator is told about an invalid token, and nobody else.
type reason struct {
	kind error
	why  string
	user string // of a token whose signature is right
}

func (r *reason) Error() string { return r.kind.Error() + ": " + r.why }
func (r *reason) Unwrap() error { return r.kind }

func invalid(why string) error { return &reason{kind: ErrInvalid, why: why} }
