package auth

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// Key verifies signatures. Exactly one of Secret and Public is set. It prints as
// [redacted].
type Key struct {
	// ID is what the header of a token says as kid. Tokens without one, or with one
	// that no key has, are held against the keys without an ID.
	ID string

	// Algorithm, unless empty, is the only one that the key is for. Default: every one
	// of JWTConfig.Algorithms that takes keys of its type.
	Algorithm Algorithm

	// Secret is for HS256, HS384 and HS512: at least as many bytes as the hash has,
	// 32, 48 or 64.
	Secret []byte

	// Public is an *rsa.PublicKey of 2048 to 8192 bits, an *ecdsa.PublicKey or an
	// ed25519.PublicKey.
	Public crypto.PublicKey
}

// Format prints [redacted], whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is [redacted].
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted].
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// key is a Key that has been checked. Others refer to it by a pointer: printing them
// does not print it.
type key struct {
	id         string
	algorithms []Algorithm // that are pinned, and that it fits
	material   any
}

// keySet does not change.
type keySet struct {
	keys []*key
	byID map[string]int
}

var (
	errSameID   = errors.New("two keys have the same ID")
	errUnusable = errors.New("it fits none of the algorithms")
)

// newKey checks k. It returns errUnusable for a key that is right and of no use.
func newKey(k Key, pinned []Algorithm) (*key, error) {
	material := any(k.Public)
	if k.Secret != nil {
		if k.Public != nil {
			return nil, errors.New("both Secret and Public")
		}
		material = bytes.Clone(k.Secret)
	}
	if err := checkMaterial(material); err != nil {
		return nil, err
	}
	own := &key{id: k.ID, material: material}
	for _, a := range pinned {
		if by, ok := schemes[a]; ok && (k.Algorithm == "" || k.Algorithm == a) && by.fits(material) {
			own.algorithms = append(own.algorithms, a)
		}
	}
	if own.algorithms == nil {
		return nil, errUnusable
	}
	return own, nil
}

func newKeySet(keys []*key) (*keySet, error) {
	s := &keySet{keys: keys, byID: make(map[string]int)}
	for i, k := range keys {
		if k.id == "" {
			continue
		}
		if _, twice := s.byID[k.id]; twice {
			return nil, errSameID
		}
		s.byID[k.id] = i
	}
	return s, nil
}

// find returns the keys that may have signed a token whose header says this. Without
// an id they are those without one and, if it is the only one that fits, one with.
func (s *keySet) find(id string, a Algorithm) (fitting []any) {
	if i, ok := s.byID[id]; ok {
		if k := s.keys[i]; slices.Contains(k.algorithms, a) {
			return []any{k.material}
		}
		return nil
	}
	var named []any
	for _, k := range s.keys {
		switch {
		case !slices.Contains(k.algorithms, a):
		case k.id == "":
			fitting = append(fitting, k.material)
		default:
			named = append(named, k.material)
		}
	}
	if fitting == nil && id == "" && len(named) == 1 {
		return named
	}
	return fitting
}
