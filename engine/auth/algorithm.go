package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithm is how a JWT is signed (RFC 7518 §3.1, RFC 8037). There is no "none".
type Algorithm string

// The algorithms, each of which takes keys of one type only.
const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// scheme is what an algorithm is made of.
type scheme struct {
	method jwt.SigningMethod
	fits   func(material any) bool
}

// schemes do not change.
var schemes = map[Algorithm]scheme{
	HS256: {jwt.SigningMethodHS256, secretOf(crypto.SHA256)},
	HS384: {jwt.SigningMethodHS384, secretOf(crypto.SHA384)},
	HS512: {jwt.SigningMethodHS512, secretOf(crypto.SHA512)},
	RS256: {jwt.SigningMethodRS256, isRSA},
	RS384: {jwt.SigningMethodRS384, isRSA},
	RS512: {jwt.SigningMethodRS512, isRSA},
	PS256: {jwt.SigningMethodPS256, isRSA},
	PS384: {jwt.SigningMethodPS384, isRSA},
	PS512: {jwt.SigningMethodPS512, isRSA},
	ES256: {jwt.SigningMethodES256, isOn(elliptic.P256())},
	ES384: {jwt.SigningMethodES384, isOn(elliptic.P384())},
	ES512: {jwt.SigningMethodES512, isOn(elliptic.P521())},
	EdDSA: {jwt.SigningMethodEdDSA, isEd25519},
}

// secretOf: RFC 7518 §3.2 wants a secret as long as the hash.
func secretOf(h crypto.Hash) func(any) bool {
	return func(material any) bool {
		secret, ok := material.([]byte)
		return ok && len(secret) >= h.Size()
	}
}

func isRSA(material any) bool {
	_, ok := material.(*rsa.PublicKey)
	return ok
}

func isOn(curve elliptic.Curve) func(any) bool {
	return func(material any) bool {
		k, ok := material.(*ecdsa.PublicKey)
		return ok && k.Curve == curve
	}
}

func isEd25519(material any) bool {
	_, ok := material.(ed25519.PublicKey)
	return ok
}

// The sizes of RSA keys: RFC 7518 §3.3 wants the least, and the most bounds what one
// signature costs.
const (
	leastRSABits = 2048
	mostRSABits  = 8192
)

// checkMaterial returns what is wrong with a key by itself.
func checkMaterial(material any) error {
	switch k := material.(type) {
	case []byte:
		if len(k) < crypto.SHA256.Size() {
			return fmt.Errorf("a secret of %d bytes: at least %d are needed", len(k), crypto.SHA256.Size())
		}
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < leastRSABits || k.N.BitLen() > mostRSABits || k.E < 3 || k.E&1 == 0 {
			return fmt.Errorf("an RSA key that does not have %d to %d bits, or a usable exponent", leastRSABits, mostRSABits)
		}
	case *ecdsa.PublicKey:
		if k == nil || k.Curve == nil {
			return fmt.Errorf("an empty key")
		}
		if _, err := k.ECDH(); err != nil {
			return fmt.Errorf("a point that is not on the curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key that does not have %d bytes", ed25519.PublicKeySize)
		}
	default:
		return fmt.Errorf("a key of type %T: allowed are []byte, *rsa.PublicKey, *ecdsa.PublicKey and ed25519.PublicKey", material)
	}
	return nil
}
