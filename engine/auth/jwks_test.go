package auth

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// without and with return a changed JWK.
func with(k map[string]any, name string, value any) map[string]any {
	k = maps.Clone(k)
	if k[name] = value; value == nil {
		delete(k, name)
	}
	return k
}

func TestJWKSMalformed(t *testing.T) {
	rs, es, ed, hs := jwkOf(RS256, "a"), jwkOf(ES256, "a"), jwkOf(EdDSA, "a"), jwkOf(HS256, "a")
	good := string(jwksOf(rs))
	texts := map[string]string{
		"empty": "", "not JSON": "keys", "list": "[]", "null": "null", "cut off": good[:len(good)-2], "more behind": good + "{}", "no keys": `{}`,
		"keys null": `{"keys":null}`, "keys an object": `{"keys":{}}`, "no key": `{"keys":[]}`, "key null": `{"keys":[null]}`, "key a string": `{"keys":["` + canary + `"]}`,
		"keys twice": `{"keys":[],` + good[1:], "member twice": strings.Replace(good, `"kty"`, `"kid":"a","kty"`, 1), "deep": strings.Repeat(`{"keys":[`, 50),
		"not UTF-8": strings.Replace(good, `"a"`, "\"\xff\"", 1), "too many": `{"keys":[` + strings.Repeat(`{"kty":"x"},`, mostKeys) + `{"kty":"x"}]}`,
	}
	for name, k := range map[string]map[string]any{
		"no kty": with(rs, "kty", nil), "kty a number": with(rs, "kty", 1), "kid a number": with(rs, "kid", 1), "use a list": with(rs, "use", []string{"sig"}),
		"key_ops a string": with(rs, "key_ops", "verify"), "alg a number": with(rs, "alg", 256),
		"no n": with(rs, "n", nil), "no e": with(rs, "e", nil), "n padded": with(rs, "n", rs["n"].(string)+"="), "n with blanks": with(rs, "n", " "+rs["n"].(string)),
		"n standard base64": with(rs, "n", "+/+/"), "n short": with(rs, "n", "AQAB"), "n huge": with(rs, "n", strings.Repeat("__", 2000)), "e even": with(rs, "e", "Ag"),
		"e one": with(rs, "e", "AQ"), "e huge": with(rs, "e", "AQAAAAAAAAAB"), "private": with(rs, "d", canary),
		"no crv": with(es, "crv", nil), "no x": with(es, "x", nil), "no y": with(es, "y", nil), "x short": with(es, "x", "AQAB"), "not on the curve": with(es, "y", es["x"]),
		"wrong curve": with(es, "crv", "P-384"), "private EC": with(es, "d", canary), "no OKP crv": with(ed, "crv", nil), "OKP short": with(ed, "x", "AQAB"), "OKP without x": with(ed, "x", nil),
		"no k": with(hs, "k", nil), "k short": with(hs, "k", "AQAB"), "k a number": with(hs, "k", 7),
	} {
		texts[name] = string(jwksOf(jwkOf(EdDSA, "fine"), k))
	}
	for name, k := range map[string]map[string]any{
		"only for encryption": with(rs, "use", "enc"), "only for signing": with(rs, "key_ops", []string{"sign"}), "only an unknown type": {"kty": "new"},
		"only an unknown curve": with(es, "crv", "secp256k1"), "only an unknown OKP": with(ed, "crv", "X25519"), "only for another algorithm": with(rs, "alg", "RS1"),
	} {
		texts[name] = string(jwksOf(k))
		keys, err := parseJWKS(jwksOf(k, jwkOf(EdDSA, "fine")), everyAlgorithm)
		assert.NoError(t, err, name)
		assert.Len(t, keys, 1, "left out: %s", name)
	}
	for name, text := range texts {
		keys, err := parseJWKS([]byte(text), everyAlgorithm)
		if assert.Error(t, err, name) {
			assert.Nil(t, keys)
			assert.NotContains(t, err.Error(), canary)
			assert.NotContains(t, err.Error(), "AQAB")
		}
	}
	keys, err := parseJWKS(jwksOf(rs, rs), everyAlgorithm)
	require.NoError(t, err)
	_, err = newKeySet(keys)
	assert.ErrorIs(t, err, errSameID)
	huge := t.TempDir() + "/huge"
	require.NoError(t, os.WriteFile(huge, make([]byte, mostKeyFile+1), 0o600))
	_, err = readRegular(huge)
	assert.Error(t, err)
}

func TestKeyFileReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(logs)
		path := keyFileOf(t, jwkOf(RS256, "one"))
		v := newJWT(t, JWTConfig{Algorithms: []Algorithm{RS256, EdDSA}, KeyFile: path, Logger: l.logger()})
		one := sign(t, RS256, ring().rsa, map[string]any{"kid": "one"}, claimsOf(nil))
		two := sign(t, EdDSA, ring().ed, map[string]any{"kid": "two"}, claimsOf(nil))
		nameless := sign(t, EdDSA, ring().ed, nil, claimsOf(nil))
		takes := func(token string) bool { _, err := v.Verify(token, time.Now()); return err == nil }
		assert.True(t, takes(one))
		assert.False(t, takes(two))

		putFile(t, path, jwksOf(jwkOf(EdDSA, "two")))
		assert.False(t, takes(nameless), "not yet")
		assert.False(t, takes(two), "the file has just been read")
		time.Sleep(soonest)
		assert.True(t, takes(two), "an ID that nobody knows")
		assert.True(t, takes(nameless))
		assert.False(t, takes(one), "withdrawn")

		for _, broken := range []string{"", "{", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + canary + `"}]}`, `{"keys":[]}`, string(jwksOf(jwkOf(EdDSA, "x"), jwkOf(RS256, "x")))} {
			putFile(t, path, []byte(broken))
			time.Sleep(defaultPoll)
			assert.True(t, takes(two), "the old keys stay")
			assert.Error(t, v.Reload())
		}
		before := strings.Count(l.String(), "level")
		require.NoError(t, os.Remove(path))
		for range 5 {
			time.Sleep(defaultPoll)
			assert.True(t, takes(two))
		}
		assert.Equal(t, before+1, strings.Count(l.String(), "level"), "the same mistake is told once")
		assert.Contains(t, l.String(), path)
		assert.NotContains(t, l.String(), canary)

		putFile(t, path, jwksOf(jwkOf(RS256, "one")))
		require.NoError(t, v.Reload())
		assert.True(t, takes(one))
		assert.False(t, takes(two))
	})
}

func TestKeyFileNeverPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := keyFileOf(t, jwkOf(RS256, "one"))
		v := newJWT(t, JWTConfig{Algorithms: []Algorithm{RS256, EdDSA}, KeyFile: path, PollEvery: -1})
		putFile(t, path, jwksOf(jwkOf(EdDSA, "two")))
		time.Sleep(time.Hour)
		two := sign(t, EdDSA, ring().ed, map[string]any{"kid": "two"}, claimsOf(nil))
		_, err := v.Verify(two, time.Now())
		assert.ErrorIs(t, err, ErrInvalid)
		require.NoError(t, v.Reload())
		_, err = v.Verify(two, time.Now())
		assert.NoError(t, err)
	})
}

// A clock that was ahead and has been put right must not keep withdrawn keys for as long.
func TestKeyFileWithClockPutBack(t *testing.T) {
	path := keyFileOf(t, jwkOf(RS256, "one"))
	v := newJWT(t, JWTConfig{Algorithms: []Algorithm{RS256, EdDSA}, KeyFile: path})
	one := sign(t, RS256, ring().rsa, map[string]any{"kid": "one"}, claimsOf(nil))
	two := sign(t, EdDSA, ring().ed, map[string]any{"kid": "two"}, claimsOf(nil))
	_, err := v.Verify(one, time.Now().Add(48*time.Hour)) // has the file read, at that time
	require.Error(t, err)
	putFile(t, path, jwksOf(jwkOf(EdDSA, "two")))
	_, err = v.Verify(two, time.Now())
	assert.NoError(t, err)
	_, err = v.Verify(one, time.Now())
	assert.ErrorIs(t, err, ErrInvalid, "withdrawn")
}

// Connections open while the file changes, is broken, and is whole again.
func TestKeyFileReloadBesideTraffic(t *testing.T) {
	path := keyFileOf(t, jwkOf(HS256, "one"))
	v := newJWT(t, JWTConfig{Algorithms: []Algorithm{HS256, EdDSA}, KeyFile: path, PollEvery: time.Nanosecond})
	s := serve(t, newAuth(t, Config{Verifiers: []Verifier{v}, Refresh: RefreshJSON}), engine.Config{})
	token := sign(t, HS256, ring().hmac, map[string]any{"kid": "one"}, claimsOf(nil))
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		texts := [][]byte{jwksOf(jwkOf(HS256, "one")), []byte("{"), jwksOf(jwkOf(EdDSA, "two"), jwkOf(HS256, "one"))}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				putFile(t, path, texts[i%len(texts)])
				_ = v.Reload() // an error for every third
			}
		}
	})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 20 {
				ws, _, err := dial(t, s, "/", bearer(token))
				if !assert.NoError(t, err) {
					return
				}
				_, _, _ = ws.ReadMessage()
				assert.NoError(t, ws.WriteMessage(1, []byte(refreshWith(token))))
				_, b, err := ws.ReadMessage()
				assert.NoError(t, err)
				assert.Contains(t, string(b), `"status":200`)
				_ = ws.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	writer.Wait()
	s.AwaitOpen(0)
}

func FuzzJWKS(f *testing.F) {
	for _, a := range everyAlgorithm {
		f.Add(jwksOf(jwkOf(a, "k")))
	}
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseJWKS(text, everyAlgorithm)
		if err != nil {
			return
		}
		if !json.Valid(text) || len(keys) == 0 || len(keys) > mostKeys {
			t.Fatalf("%d keys of %q", len(keys), text)
		}
		set, err := newKeySet(keys)
		if err != nil {
			return
		}
		for _, k := range keys {
			for _, a := range k.algorithms {
				if !schemes[a].fits(k.material) || checkMaterial(k.material) != nil {
					t.Fatalf("%s with %T", a, k.material)
				}
			}
			if got := set.find(k.id, k.algorithms[0]); len(got) == 0 && k.id != "" {
				t.Fatal("a key cannot be found")
			}
		}
	})
}
