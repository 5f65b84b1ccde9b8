package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// mostKeys bounds a JWK Set.
const mostKeys = 256

// parseJWKS reads a JWK Set (RFC 7517 §5). Keys of a type that is unknown, for other
// uses than signatures, or for algorithms that are not pinned are left out; anything
// else that is wrong is an error, which names the key by its position and has nothing
// of it in it. A set without a usable key is an error.
func parseJWKS(text []byte, pinned []Algorithm) ([]*key, error) {
	set, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	list, ok := set["keys"].([]any)
	if !ok || len(list) > mostKeys {
		return nil, fmt.Errorf("no array \"keys\", or of more than %d", mostKeys)
	}
	var keys []*key
	for i, v := range list {
		k, err := parseJWK(v, pinned)
		if err == nil {
			keys = append(keys, k)
		} else if !errors.Is(err, errUnusable) {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	if keys == nil {
		return nil, errors.New("no key that could be used")
	}
	return keys, nil
}

// jwk is a JSON Web Key whose members are asked for by name.
type jwk struct {
	members map[string]any
	err     error // the first
}

func parseJWK(v any, pinned []Algorithm) (*key, error) {
	members, ok := v.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	j := &jwk{members: members}
	kty, use := j.text("kty"), j.text("use")
	own := Key{ID: j.text("kid"), Algorithm: Algorithm(j.text("alg"))}
	if j.err == nil && kty == "" {
		j.err = errors.New("kty is missing")
	}
	verifies := j.verifies()
	if j.err != nil {
		return nil, j.err
	}
	if use != "" && use != "sig" || !verifies {
		return nil, errUnusable
	}
	switch kty {
	case "RSA":
		own.Public = j.rsa()
	case "EC":
		own.Public = j.ec()
	case "OKP":
		own.Public = j.okp()
	case "oct":
		own.Secret = j.bytes("k")
	default:
		return nil, errUnusable
	}
	if j.err != nil {
		return nil, j.err
	}
	if _, private := members["d"]; private {
		return nil, errors.New("a private key: only public ones belong here")
	}
	return newKey(own, pinned)
}

// verifies reports what key_ops says (RFC 7517 §4.3).
func (j *jwk) verifies() bool {
	v, ok := j.members["key_ops"]
	if !ok {
		return true
	}
	list, ok := v.([]any)
	if !ok {
		j.fail("key_ops is no array")
	}
	return slices.Contains(list, any("verify"))
}

func (j *jwk) fail(why string) {
	if j.err == nil {
		j.err = errors.New(why)
	}
}

func (j *jwk) unusable() {
	if j.err == nil {
		j.err = errUnusable
	}
}

func (j *jwk) text(name string) string {
	v, ok := j.members[name]
	text, isText := v.(string)
	if ok && !isText {
		j.fail(name + " is no string")
	}
	return text
}

// bytes decodes a member that must be there (base64url without padding, RFC 7518 §2).
func (j *jwk) bytes(name string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(j.text(name))
	if err != nil || len(b) == 0 {
		j.fail(name + " is missing or no base64url")
	}
	return b
}

func (j *jwk) rsa() *rsa.PublicKey {
	n, e := j.bytes("n"), new(big.Int).SetBytes(j.bytes("e"))
	if len(n) > mostRSABits/8+1 || e.BitLen() > 31 {
		j.fail("n or e is too large")
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())}
}

func (j *jwk) ec() *ecdsa.PublicKey {
	var curve elliptic.Curve
	switch j.text("crv") {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	case "":
		j.fail("crv is missing")
		return nil
	default:
		j.unusable()
		return nil
	}
	x, y := j.bytes("x"), j.bytes("y")
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		j.fail("x or y does not have the curve's length")
		return nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		j.fail("a point that is not on the curve")
	}
	return public
}

func (j *jwk) okp() ed25519.PublicKey {
	switch j.text("crv") {
	case "Ed25519":
		return j.bytes("x")
	case "":
		j.fail("crv is missing")
	default:
		j.unusable()
	}
	return nil
}
