package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"time"
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
	v := make(secrets, len(list))
	seen := make(map[[sha256.Size]byte]int)
	var errs []error
	for i, s := range list {
		v[i] = secret{sha256.Sum256([]byte(s.Token)), Identity{User: s.User, Group: s.Group}}
		first, twice := seen[v[i].sum]
		seen[v[i].sum] = i
		switch {
		case len(s.Token) < MinSecretBytes:
			errs = append(errs, fmt.Errorf("auth: Secret %d is shorter than %d bytes", i, MinSecretBytes))
		case twice:
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

type secrets []secret

type secret struct {
	sum      [sha256.Size]byte // so that all have one length, and none is kept
	identity Identity
}

// Verify compares with every secret, also after one has matched.
func (v secrets) Verify(token string, _ time.Time) (Identity, error) {
	sum := sha256.Sum256([]byte(token))
	found := -1
	for i := range v {
		equal := subtle.ConstantTimeCompare(sum[:], v[i].sum[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Identity{}, invalid("no such secret")
	}
	return v[found].identity, nil
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
