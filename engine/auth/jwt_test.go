package auth

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var everyAlgorithm = []Algorithm{HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA}

// C9: every algorithm, with a key from the configuration and from a JWK Set, and only
// where it is pinned.
func TestJWTAlgorithms(t *testing.T) {
	for _, a := range everyAlgorithm {
		token := sign(t, a, ring().signer(a), map[string]any{"kid": "k"}, claimsOf(nil))
		for name, cfg := range map[string]JWTConfig{
			"configured": {Algorithms: []Algorithm{a}, Keys: []Key{ring().key(a, "k")}},
			"without ID": {Algorithms: []Algorithm{a}, Keys: []Key{ring().key(a, "")}},
			"file":       {Algorithms: []Algorithm{a}, KeyFile: keyFileOf(t, jwkOf(a, "k"))},
			"among all":  {Algorithms: everyAlgorithm, KeyFile: keyFileOf(t, jwkOf(ES256, "other"), jwkOf(a, "k"))},
		} {
			if name == "among all" && a == ES256 {
				continue
			}
			id, err := newJWT(t, cfg).Verify(token, time.Now())
			require.NoError(t, err, "%s %s", a, name)
			assert.Equal(t, "ann", id.User)
			assert.Equal(t, "s1", id.Session)
			assert.Equal(t, "ann@example.com", id.Email)
			assert.WithinDuration(t, time.Now().Add(time.Hour), id.Expires, 5*time.Second)
			assert.Equal(t, "ann", id.Claims["sub"])
		}
		other := HS256
		if a[0] == 'H' {
			other = EdDSA
		}
		_, err := newJWT(t, JWTConfig{Algorithms: []Algorithm{other}, Keys: []Key{ring().key(other, "")}}).Verify(token, time.Now())
		assert.ErrorIs(t, err, ErrInvalid, "%s is not pinned", a)
	}
}

func TestJWTNoneIsNoAlgorithm(t *testing.T) {
	v := newJWT(t, JWTConfig{})
	claims := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"sub":"ann","exp":%d}`, time.Now().Unix()+60)))
	for _, none := range []string{`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `"none "`, `""`, `null`, `0`, `["none"]`, `{"alg":"none"}`, `"hs256"`, `"HS256 "`} {
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":` + none + `}`))
		for _, signature := range []string{"", "AA"} {
			_, err := v.Verify(header+"."+claims+"."+signature, time.Now())
			assert.ErrorIs(t, err, ErrInvalid, none)
		}
	}
	_, err := JWT(JWTConfig{Algorithms: []Algorithm{"none"}, Keys: []Key{{Secret: ring().hmac}}})
	assert.Error(t, err)
	token, err := jwt.NewWithClaims(jwt.SigningMethodNone, claimsOf(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	_, err = v.Verify(token, time.Now())
	assert.ErrorIs(t, err, ErrInvalid)
}

// The public key, in every form that an attacker finds it in, as the secret of HS256.
func TestJWTPublicKeyIsNoSecret(t *testing.T) {
	k := ring().rsa.PublicKey
	pkix, err := x509.MarshalPKIXPublicKey(&k)
	require.NoError(t, err)
	forms := [][]byte{pkix, x509.MarshalPKCS1PublicKey(&k), k.N.Bytes(),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k)}), jwksOf(jwkOf(RS256, "k"))}
	for _, pinned := range [][]Algorithm{{RS256}, {RS256, HS256}, everyAlgorithm} {
		for name, cfg := range map[string]JWTConfig{
			"configured": {Algorithms: pinned, Keys: []Key{ring().key(RS256, "k")}},
			"file":       {Algorithms: pinned, KeyFile: keyFileOf(t, jwkOf(RS256, "k"))},
		} {
			v := newJWT(t, cfg)
			for i, form := range forms {
				for _, header := range []map[string]any{nil, {"kid": "k"}} {
					_, err := v.Verify(sign(t, HS256, form, header, claimsOf(nil)), time.Now())
					assert.ErrorIs(t, err, ErrInvalid, "%s %v form %d", name, pinned, i)
				}
			}
		}
	}
}

func TestJWTHostile(t *testing.T) {
	now := time.Now().Unix()
	v := newJWT(t, JWTConfig{Issuer: "https://id.example", Audience: []string{"chat", "feed"}})
	ok := jwt.MapClaims{"iss": "https://id.example", "aud": "chat"}
	with := func(change jwt.MapClaims) string {
		c := jwt.MapClaims{}
		for _, m := range []jwt.MapClaims{ok, change} {
			for name, value := range m {
				c[name] = value
			}
		}
		return good(t, c)
	}
	for name, change := range map[string]jwt.MapClaims{
		"plain": nil, "second audience": {"aud": "feed"}, "list": {"aud": []string{"x", "chat"}}, "just begun": {"nbf": now}, "number as user": {"sub": 42},
	} {
		_, err := v.Verify(with(change), time.Now())
		require.NoError(t, err, name)
	}
	head := `{"alg":"HS256"}`
	body := func(members string) string {
		return fmt.Sprintf(`{"sub":"ann","iss":"https://id.example","aud":"chat","exp":%d%s}`, now+60, members)
	}
	require.NoError(t, func() error { _, err := v.Verify(raw(t, head, body("")), time.Now()); return err }())
	signed := with(nil)
	parts := strings.Split(signed, ".")
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"expired", with(jwt.MapClaims{"exp": now - 60, "iat": now - 120}), ErrExpired},
		{"not yet valid", with(jwt.MapClaims{"nbf": now + 60}), ErrInvalid},
		{"issued in the future", with(jwt.MapClaims{"iat": now + 60}), ErrInvalid},
		{"no exp", with(jwt.MapClaims{"exp": nil}), ErrInvalid},
		{"exp null", raw(t, head, strings.Replace(body(""), fmt.Sprint(now+60), "null", 1)), ErrInvalid},
		{"exp as string", with(jwt.MapClaims{"exp": fmt.Sprint(now + 60)}), ErrInvalid},
		{"exp negative", with(jwt.MapClaims{"exp": -1}), ErrInvalid},
		{"exp huge", raw(t, head, strings.Replace(body(""), fmt.Sprint(now+60), "1e300", 1)), ErrInvalid},
		{"exp beyond float", raw(t, head, strings.Replace(body(""), fmt.Sprint(now+60), "1e999", 1)), ErrInvalid},
		{"exp at the end of int64", raw(t, head, strings.Replace(body(""), fmt.Sprint(now+60), "9223372036854775807", 1)), ErrInvalid},
		{"exp in the year 9999", with(jwt.MapClaims{"exp": latest}), ErrInvalid},
		{"exp in the year 9999 without iat", with(jwt.MapClaims{"exp": latest, "iat": nil}), ErrInvalid},
		{"nbf huge", raw(t, head, body(`,"nbf":1e300`)), ErrInvalid},
		{"wrong audience", with(jwt.MapClaims{"aud": "mail"}), ErrInvalid},
		{"no audience", with(jwt.MapClaims{"aud": nil}), ErrInvalid},
		{"audience of numbers", with(jwt.MapClaims{"aud": []int{1}}), ErrInvalid},
		{"audience is an object", with(jwt.MapClaims{"aud": map[string]string{"chat": "chat"}}), ErrInvalid},
		{"wrong issuer", with(jwt.MapClaims{"iss": "https://id.example.net"}), ErrInvalid},
		{"no issuer", with(jwt.MapClaims{"iss": nil}), ErrInvalid},
		{"issuers", with(jwt.MapClaims{"iss": []string{"https://id.example"}}), ErrInvalid},
		{"no user", with(jwt.MapClaims{"sub": nil}), ErrInvalid},
		{"empty user", with(jwt.MapClaims{"sub": ""}), ErrInvalid},
		{"user is an object", with(jwt.MapClaims{"sub": map[string]any{}}), ErrInvalid},
		{"user is a fraction", with(jwt.MapClaims{"sub": 4.2}), ErrInvalid},
		{"claim twice", raw(t, head, body(`,"sub":"bob"`)), ErrInvalid},
		{"claim twice inside", raw(t, head, body(`,"x":{"a":1,"a":1}`)), ErrInvalid},
		{"claim twice by escapes", raw(t, head, body(`,"s\u0075b":"bob"`)), ErrInvalid},
		{"header twice", raw(t, `{"alg":"none","alg":"HS256"}`, body("")), ErrInvalid},
		{"header twice, other order", raw(t, `{"alg":"HS256","alg":"none"}`, body("")), ErrInvalid},
		{"header with crit", raw(t, `{"alg":"HS256","crit":["b64"],"b64":true}`, body("")), ErrInvalid},
		{"header with Alg alone", raw(t, `{"Alg":"HS256"}`, body("")), ErrInvalid},
		{"header null", raw(t, `null`, body("")), ErrInvalid},
		{"claims null", raw(t, head, `null`), ErrInvalid},
		{"claims a list", raw(t, head, `[]`), ErrInvalid},
		{"claims deep", raw(t, head, body(`,"x":`+strings.Repeat("[", 60)+strings.Repeat("]", 60))), ErrInvalid},
		{"claims not UTF-8", raw(t, head, body(`,"x":"`+"\xff"+`"`)), ErrInvalid},
		{"claims and more", raw(t, head, body("")+"{}"), ErrInvalid},
		{"another key", sign(t, HS256, []byte(strings.Repeat("x", 32)), nil, claimsOf(ok)), ErrInvalid},
		{"unsigned", parts[0] + "." + parts[1] + ".", ErrInvalid},
		{"two parts", parts[0] + "." + parts[1], ErrInvalid},
		{"four parts", signed + ".", ErrInvalid},
		{"padded", signed + "=", ErrInvalid},
		{"garbage signature", parts[0] + "." + parts[1] + ".!!!!", ErrInvalid},
		{"garbage header", "!!!!." + parts[1] + "." + parts[2], ErrInvalid},
		{"garbage", "%%%", ErrInvalid},
		{"line break", signed[:10] + "\n" + signed[10:], ErrInvalid},
		{"nothing", "", ErrInvalid},
		{"dots", "..", ErrInvalid},
	} {
		_, err := v.Verify(c.token, time.Now())
		assert.ErrorIs(t, err, c.want, c.name)
	}
	_, err := newJWT(t, JWTConfig{}).Verify(with(nil), time.Now())
	assert.ErrorIs(t, err, ErrInvalid, "for somebody else: RFC 7519 §4.1.3")
}

// A signature whose last bits are not zero is another spelling of the same bytes.
func TestJWTSignatureHasOneSpelling(t *testing.T) {
	token := good(t, nil)
	v := newJWT(t, JWTConfig{})
	spellings := 0
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if _, err := v.Verify(token[:len(token)-1]+string(c), time.Now()); err == nil {
			spellings++
		}
	}
	assert.Equal(t, 1, spellings)
}

// believer is a signing method that believes everything.
type believer struct{ *jwt.SigningMethodHMAC }

func (believer) Verify(string, []byte, any) error { return nil }

// The library's table of methods is open to every package of a program.
func TestJWTMethodsAreBound(t *testing.T) {
	jwt.RegisterSigningMethod("HS384", func() jwt.SigningMethod { return believer{jwt.SigningMethodHS384} })
	t.Cleanup(func() {
		jwt.RegisterSigningMethod("HS384", func() jwt.SigningMethod { return jwt.SigningMethodHS384 })
	})
	v := newJWT(t, JWTConfig{Algorithms: []Algorithm{HS384}, Keys: []Key{{Secret: ring().hmac}}})
	_, err := v.Verify(sign(t, HS384, []byte("somebody else's"), nil, claimsOf(nil)), time.Now())
	assert.ErrorIs(t, err, ErrInvalid)
}

func TestJWTKeyIDs(t *testing.T) {
	v := newJWT(t, JWTConfig{Algorithms: everyAlgorithm, KeyFile: keyFileOf(t, jwkOf(RS256, "r"), jwkOf(ES256, "e"), jwkOf(HS256, "h"))})
	rsaToken := func(header map[string]any) string { return sign(t, RS256, ring().rsa, header, claimsOf(nil)) }
	_, err := v.Verify(rsaToken(map[string]any{"kid": "r"}), time.Now())
	assert.NoError(t, err)
	_, err = v.Verify(rsaToken(nil), time.Now())
	assert.NoError(t, err, "one key fits")
	for _, kid := range []any{"e", "h", "x", "../../../../dev/null", "keys.json", "r\x00", "R", 7, nil, []string{"r"}, strings.Repeat("r", 4000)} {
		_, err := v.Verify(rsaToken(map[string]any{"kid": kid}), time.Now())
		assert.ErrorIs(t, err, ErrInvalid, "%v", kid)
	}
	two := newJWT(t, JWTConfig{Algorithms: []Algorithm{RS256}, KeyFile: keyFileOf(t, jwkOf(RS256, "r"), jwkOf(RS256, "s"))})
	_, err = two.Verify(rsaToken(nil), time.Now())
	assert.ErrorIs(t, err, ErrInvalid, "which one?")
	rotated := newJWT(t, JWTConfig{Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: []byte(strings.Repeat("n", 32))}, {Secret: ring().hmac}}})
	_, err = rotated.Verify(good(t, nil), time.Now())
	assert.NoError(t, err, "every key without an ID")
}

func TestJWTLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for _, c := range []struct {
			leeway, allowed time.Duration
		}{{0, 5 * time.Second}, {-1, 0}, {time.Minute, time.Minute}} {
			v := newJWT(t, JWTConfig{Leeway: c.leeway})
			later := good(t, jwt.MapClaims{"nbf": start.Add(c.allowed + time.Second).Unix()})
			now := good(t, jwt.MapClaims{"nbf": start.Add(c.allowed).Unix(), "iat": start.Add(c.allowed).Unix()})
			_, err := v.Verify(now, start)
			assert.NoError(t, err)
			_, err = v.Verify(later, start)
			assert.ErrorIs(t, err, ErrInvalid)
			_, err = v.Verify(good(t, jwt.MapClaims{"iat": start.Add(c.allowed + time.Second).Unix()}), start)
			assert.ErrorIs(t, err, ErrInvalid)

			exp := start.Add(10 * time.Second)
			token := good(t, jwt.MapClaims{"exp": exp.Unix()})
			id, err := v.Verify(token, exp.Add(-1))
			assert.NoError(t, err)
			assert.True(t, id.Expires.Equal(exp))
			_, err = v.Verify(token, exp.Add(c.allowed))
			assert.ErrorIs(t, err, ErrExpired)
			if c.allowed > 0 {
				id, err = v.Verify(token, exp.Add(c.allowed-1))
				assert.NoError(t, err)
				assert.True(t, id.Expires.Equal(exp.Add(c.allowed)), "an end that is not past")
			}
		}
	})
}

func TestJWTLifetime(t *testing.T) {
	now := time.Now().Unix()
	hour := newJWT(t, JWTConfig{MaxLifetime: time.Hour})
	for _, c := range []struct {
		change jwt.MapClaims
		want   error
	}{
		{jwt.MapClaims{"iat": now - 60, "exp": now + 3540}, nil},
		{jwt.MapClaims{"iat": now - 60, "exp": now + 3541}, ErrInvalid},
		{jwt.MapClaims{"iat": nil, "exp": now + 3590}, nil},
		{jwt.MapClaims{"iat": nil, "exp": now + 3610}, ErrInvalid},
	} {
		_, err := hour.Verify(good(t, c.change), time.Now())
		assert.True(t, errors.Is(err, c.want), "%v: %v", c.change, err)
	}
	never := newJWT(t, JWTConfig{MaxLifetime: -1, AllowNoExpiry: true})
	_, err := never.Verify(good(t, jwt.MapClaims{"exp": latest}), time.Now())
	assert.NoError(t, err)
	id, err := never.Verify(good(t, jwt.MapClaims{"exp": nil}), time.Now())
	assert.NoError(t, err)
	assert.True(t, id.Expires.IsZero())
	assert.Zero(t, never.MaxLifetime())
	assert.Equal(t, time.Hour+5*time.Second, hour.MaxLifetime())
}

func TestJWTClaims(t *testing.T) {
	token := good(t, jwt.MapClaims{"uid": "u7", "sid": nil, "jti": "j1", "role": "admin", "email": nil})
	id, err := newJWT(t, JWTConfig{Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: ring().hmac}}, UserClaim: "uid", Claims: []string{"role", "missing"}}).Verify(token, time.Now())
	require.NoError(t, err)
	assert.Equal(t, "u7", id.User)
	assert.Equal(t, "j1", id.Session)
	assert.Empty(t, id.Email)
	assert.Equal(t, map[string]any{"role": "admin"}, id.Claims)
}

func TestJWTConfigMistakes(t *testing.T) {
	k := ring()
	for name, cfg := range map[string]JWTConfig{
		"nothing":              {},
		"no algorithm":         {Keys: []Key{{Secret: k.hmac}}},
		"unknown algorithm":    {Algorithms: []Algorithm{"HS257"}, Keys: []Key{{Secret: k.hmac}}},
		"no key":               {Algorithms: []Algorithm{HS256}},
		"short secret":         {Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: k.hmac[:31]}}},
		"short for HS512":      {Algorithms: []Algorithm{HS512}, Keys: []Key{{Secret: k.hmac[:63]}}},
		"empty key":            {Algorithms: []Algorithm{HS256}, Keys: []Key{{}}},
		"two keys in one":      {Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: k.hmac, Public: k.ed.Public()}}},
		"key of another type":  {Algorithms: []Algorithm{RS256}, Keys: []Key{{Secret: k.hmac}}},
		"key of another curve": {Algorithms: []Algorithm{ES256}, Keys: []Key{{Public: k.ec[ES384].Public()}}},
		"private key":          {Algorithms: []Algorithm{RS256}, Keys: []Key{{Public: k.rsa}}},
		"string":               {Algorithms: []Algorithm{HS256}, Keys: []Key{{Public: string(k.hmac)}}},
		"same ID":              {Algorithms: []Algorithm{HS256, EdDSA}, Keys: []Key{{ID: "a", Secret: k.hmac}, {ID: "a", Public: k.ed.Public()}}},
		"same ID in the file":  {Algorithms: []Algorithm{HS256}, Keys: []Key{{ID: "a", Secret: k.hmac}}, KeyFile: keyFileOf(t, jwkOf(HS256, "a"))},
		"key's algorithm":      {Algorithms: []Algorithm{HS256}, Keys: []Key{{Algorithm: HS384, Secret: k.hmac}}},
		"no file":              {Algorithms: []Algorithm{HS256}, KeyFile: t.TempDir() + "/none"},
		"directory":            {Algorithms: []Algorithm{HS256}, KeyFile: t.TempDir()},
		"leeway":               {Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: k.hmac}}, Leeway: time.Hour},
		"empty audience":       {Algorithms: []Algorithm{HS256}, Keys: []Key{{Secret: k.hmac}}, Audience: []string{""}},
	} {
		_, err := JWT(cfg)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), canary, name)
	}
}
