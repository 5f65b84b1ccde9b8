package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/penstock-ws/penstock/interceptors"
)

// MinSecretBytes is the length of the shortest secret that [Secrets] takes.
const MinSecretBytes = 16

// Secret is a token that is known in advance. Clients that present the same one are
// the same user, and a group; several Secrets of one user may be valid at once, so
// that one can be replaced by another. It prints as [redacted].
type Secret struct {
	// Token is what clients present: at least MinSecretBytes of what nobody can guess.
	Token string

	// User and Group go into the Identity. One of them is needed.
	User, Group string
}

// Secrets returns a verifier that knows these and nothing else. A token is compared
// with all of them, in a time that depends on their number alone. They never expire:
// one is withdrawn by making a new Auth without it; RevokeUser refuses it as long as
// the process runs.
func Secrets(list ...Secret) (Verifier, error) {
	if len(list) == 0 {
		return nil, errors.New("auth: Secrets needs at least one Secret")
	}
	var v secrets
	var errs []error
	for i, s := range list {
		first := v.digests.Find(s.Token)
		v.digests.Add(s.Token)
		v.identities = append(v.identities, Identity{User: s.User, Group: s.Group})
		switch {
		case len(s.Token) < MinSecretBytes:
			errs = append(errs, fmt.Errorf("auth: Secret %d is shorter than %d bytes", i, MinSecretBytes))
		case first >= 0:
			errs = append(errs, fmt.Errorf("auth: Secrets %d and %d have the same Token", first, i))
		case s.User == "" && s.Group == "":
			errs = append(errs, fmt.Errorf("auth: Secret %d has neither User nor Group", i))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return v, nil
}

type secrets struct {
	digests    interceptors.Digests
	identities []Identity // of each
}

// Verify implements Verifier.
func (v secrets) Verify(token string, _ time.Time) (Identity, error) {
	if at := v.digests.Find(token); at >= 0 {
		return v.identities[at], nil
	}
	return Identity{}, invalid("no such secret")
}

// MaxLifetime is zero: secrets never expire.
func (secrets) MaxLifetime() time.Duration { return 0 }

const redacted = "[redacted]"

// Format prints [redacted], whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is [redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
