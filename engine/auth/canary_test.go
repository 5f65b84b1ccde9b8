package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/interceptors"
)

// Every way to be refused, with a token that can be recognised, and everything that the
// server writes: logs of auth and engine, of an interceptor that logs, errors, responses.
func TestNothingTellsATokenOrSecret(t *testing.T) {
	l := new(logs)
	slog.SetDefault(l.logger())
	t.Cleanup(func() { slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil))) })
	const secret = canary + "-shared-secret"
	shared, err := Secrets(Secret{Token: secret, User: "worker"})
	require.NoError(t, err)
	path := keyFileOf(t, jwkOf(EdDSA, "k"))
	verifier := newJWT(t, JWTConfig{Algorithms: []Algorithm{HS256, EdDSA}, Keys: []Key{{Secret: ring().hmac}}, KeyFile: path, PollEvery: time.Nanosecond, Issuer: "us", Audience: []string{"chat"}})
	us := jwt.MapClaims{"iss": "us", "aud": "chat", "note": canary}
	token := func(change jwt.MapClaims) string {
		c := claimsOf(us)
		for name, value := range change {
			c[name] = value
		}
		return sign(t, HS256, ring().hmac, nil, c)
	}
	now := time.Now().Unix()
	head := base64Of(`{"alg":"HS256","note":"` + canary + `"}`)
	tokens := []string{
		secret, secret + "x", canary, canary + "." + canary + "." + canary, "!" + canary + "!.e30.AA",
		token(nil), token(jwt.MapClaims{"exp": now - 60}), token(jwt.MapClaims{"nbf": now + 60}), token(jwt.MapClaims{"aud": canary}), token(jwt.MapClaims{"iss": canary}),
		token(jwt.MapClaims{"exp": canary}), token(jwt.MapClaims{"sub": "bob"}), token(jwt.MapClaims{"sub": []string{canary}}), token(nil) + "x", token(nil) + canary,
		base64Of(`{"alg":"`+canary+`"}`) + ".e30.AA", base64Of(`{"alg":"EdDSA","kid":"`+canary+`"}`) + ".e30.AA", base64Of(`{"alg":"HS256","kid":"`+canary+`"}`) + ".e30.AA", base64Of(canary) + ".e30.AA",
		head + "." + base64Of(`{"sub":"`+canary) + ".AA", head + "." + base64Of(canary) + ".AA", raw(t, `{"alg":"HS256"}`, `{"`+canary+`":1,"`+canary+`":1}`),
		raw(t, `{"alg":"HS256"}`, `{"exp":`+canary+`}`), raw(t, `{"alg":"HS256","kid":"`+canary+`"}`, `{}`), canary + strings.Repeat("x", 9<<10), canary + "%00", canary + "%zz",
	}
	for _, broken := range []string{`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + canary + `"}]}`, `{"` + canary + `":` + canary + `}`, `{"keys":[{"kty":"oct","k":"` + canary + `","kid":"` + canary + `","` + canary + `":}]}`} {
		putFile(t, path, []byte(broken))
		err := verifier.Reload()
		require.Error(t, err)
		assert.NotContains(t, err.Error(), canary)
	}
	var told []string // everything that a client or program is told
	for _, after := range []bool{false, true} {
		a, err := New(Config{Verifiers: []Verifier{verifier, shared}, Sources: allSources, CloseAfterUpgrade: after, Refresh: RefreshJSON,
			Allow: func(id Identity) error {
				if id.User == "bob" {
					return fmt.Errorf("not today")
				}
				return nil
			}}, engine.Config{})
		require.NoError(t, err)
		told = append(told, fmt.Sprintf("%+v %#v", a, a), fmt.Sprintf("%+v %#v", verifier, verifier), fmt.Sprintf("%+v %#v", shared, shared))
		s := serve(t, a, engine.Config{Logger: l.logger()}, func(ep *engine.Endpoint) {
			ep.Interceptors = append(ep.Interceptors, interceptors.Logging(interceptors.LoggingConfig{Logger: l.logger()}))
			ep.Handler.OnMessage = func(_ context.Context, _ *engine.Conn, m engine.Message) error {
				t.Errorf("a message of %d bytes has reached the handler", len(m.Data))
				return nil
			}
		})
		for i, token := range tokens {
			unescaped := strings.NewReplacer("%00", "", "%zz", "").Replace(token)
			headers := []http.Header{bearer(unescaped), {"Cookie": {"session=" + unescaped}}, {"X-Worker-Secret": {unescaped}}, {"Sec-Websocket-Protocol": {"bearer, " + unescaped}},
				{"Authorization": {"Bearer " + unescaped}, "Cookie": {"session=" + canary + "-other"}}}
			for j, header := range append(headers, nil) {
				target := "/"
				if header == nil {
					target += "?token=" + token
				}
				ws, res, err := dial(t, s, target, header)
				if err == nil {
					_, b, err := ws.ReadMessage()
					told = append(told, string(b), fmt.Sprint(err))
					_ = ws.Close()
				} else {
					require.NotNil(t, res, "token %d, place %d: %v", i, j, err)
					body, err := io.ReadAll(res.Body)
					require.NoError(t, err)
					told = append(told, string(body))
				}
				told = append(told, fmt.Sprint(res.Header))
			}
			_, err := a.Verify(unescaped)
			told = append(told, fmt.Sprint(err), fmt.Sprintf("%+v", err))
		}
		ws := open(t, s, token(nil))
		for _, fresh := range tokens {
			send(t, ws, refreshWith(fresh))
			told = append(told, read(t, ws))
		}
		a.RevokeUser("ann")
		told = append(told, closed(t, ws).Error())
		enginetest.Await(t, func() bool { return s.Open() == 0 }, "all have ended")
	}
	text, err := json.Marshal([]any{Secret{Token: secret}, Key{Secret: ring().hmac}, &Key{ID: canary}})
	require.NoError(t, err)
	l.logger().Info("configuration", "secret", Secret{Token: secret}, "key", Key{Secret: ring().hmac}, "all", []any{Secret{Token: secret}, Key{Secret: ring().hmac}})
	told = append(told, string(text), fmt.Sprintf("%v %+v %#v %s %d", Secret{Token: secret}, Secret{Token: secret}, Key{Secret: ring().hmac}, Key{Secret: ring().hmac}, Secret{Token: secret}))
	everything := l.String() + strings.Join(told, "\n")
	require.Greater(t, strings.Count(l.String(), "handshake refused"), 200, "the refusals have been logged")
	require.Greater(t, strings.Count(l.String(), "refresh refused"), 20)
	require.Contains(t, l.String(), `"user":"bob"`)
	require.Contains(t, l.String(), "JWK Set")
	for _, form := range [][]byte{[]byte(canary), ring().hmac, []byte(base64Of(canary)[:16]), []byte(fmt.Sprintf("%x", canary)), []byte(fmt.Sprint([]byte(canary))[1:20])} {
		if i := bytes.Index([]byte(everything), form); i >= 0 {
			t.Errorf("%q is told: …%s…", form, everything[max(0, i-200):min(len(everything), i+100)])
		}
	}
	for _, token := range tokens {
		if parts := strings.Split(token, "."); len(parts) == 3 && len(parts[2]) > 20 {
			assert.NotContains(t, everything, parts[2][:20])
		}
	}
}

func base64Of(text string) string { return b64([]byte(text)) }
