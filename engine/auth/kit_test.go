package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/interceptors"
)

// canary stands in every secret, key ID and claim that must not be told to anybody.
const canary = "Kanarienvogel"

// keyring has a key of each type.
type keyring struct {
	hmac    []byte
	rsa     *rsa.PrivateKey
	ec      map[Algorithm]*ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	foreign *rsa.PrivateKey
}

// ring is made once: RSA keys take their time.
var ring = sync.OnceValue(func() *keyring {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	k := &keyring{hmac: []byte(canary + "-and-fifty-one-more-bytes-of-what-nobody-else-can-know"), ec: map[Algorithm]*ecdsa.PrivateKey{}}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.foreign, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	for a, curve := range map[Algorithm]elliptic.Curve{ES256: elliptic.P256(), ES384: elliptic.P384(), ES512: elliptic.P521()} {
		k.ec[a], err = ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
	}
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

// signer returns the private key for an algorithm, and public its counterpart.
func (k *keyring) signer(a Algorithm) any {
	switch a[0] {
	case 'H':
		return k.hmac
	case 'R', 'P':
		return k.rsa
	}
	if a == EdDSA {
		return k.ed
	}
	return k.ec[a]
}

func (k *keyring) key(a Algorithm, id string) Key {
	if a[0] == 'H' {
		return Key{ID: id, Secret: k.hmac}
	}
	return Key{ID: id, Public: k.signer(a).(crypto.Signer).Public()}
}

// claimsOf are good claims for an hour, with changes; nil removes.
func claimsOf(change jwt.MapClaims) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"sub": "ann", "email": "ann@example.com", "sid": "s1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for name, value := range change {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// sign makes a token.
func sign(t testing.TB, a Algorithm, key any, header map[string]any, c jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(schemes[a].method, c)
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

// good is a token of HS256 with changed claims.
func good(t testing.TB, change jwt.MapClaims) string {
	t.Helper()
	return sign(t, HS256, ring().hmac, nil, claimsOf(change))
}

// raw makes a token of HS256 of header and claims as they are written.
func raw(t testing.TB, header, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodHS256.Sign(text, ring().hmac)
	require.NoError(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func newJWT(t testing.TB, cfg JWTConfig) *JWTVerifier {
	t.Helper()
	if cfg.Algorithms == nil {
		cfg.Algorithms = []Algorithm{HS256}
		cfg.Keys = []Key{{Secret: ring().hmac}}
	}
	v, err := JWT(cfg)
	require.NoError(t, err)
	return v
}

func newAuth(t testing.TB, cfg Config) *Auth {
	t.Helper()
	if cfg.Verifiers == nil {
		cfg.Verifiers = []Verifier{newJWT(t, JWTConfig{Leeway: -1})}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	a, err := New(cfg, engine.Config{})
	require.NoError(t, err)
	return a
}

// serve echoes, and tells those who open who they are: the confirmation of the row C11.
func serve(t testing.TB, a *Auth, cfg engine.Config, change ...func(*engine.Endpoint)) *enginetest.Server {
	t.Helper()
	ep := engine.Endpoint{
		Interceptors: []interceptors.Interceptor{a.Interceptor()},
		Subprotocols: []string{"chat", "bearer"},
		Handler: engine.Handler{
			OnOpen: func(ctx context.Context, c *engine.Conn) error {
				id, _ := From(ctx)
				return c.SendText("connected " + interceptors.User(ctx) + " " + id.Email)
			},
			OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
		},
	}
	for _, f := range change {
		f(&ep)
	}
	return enginetest.Start(t, cfg, ep)
}

// dial connects with gorilla.
func dial(t testing.TB, s *enginetest.Server, target string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: enginetest.Patience}
	ws, res, err := d.Dial("ws://"+s.Addr()+target, header)
	if err == nil {
		require.NoError(t, ws.SetReadDeadline(time.Now().Add(enginetest.Patience)))
		t.Cleanup(func() { _ = ws.Close() })
	}
	return ws, res, err
}

func open(t testing.TB, s *enginetest.Server, token string) *websocket.Conn {
	t.Helper()
	ws, _, err := dial(t, s, "/", bearer(token))
	require.NoError(t, err)
	read(t, ws) // connected
	return ws
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func read(t testing.TB, ws *websocket.Conn) string {
	t.Helper()
	_, b, err := ws.ReadMessage()
	require.NoError(t, err)
	return string(b)
}

// closed reads to the close frame.
func closed(t testing.TB, ws *websocket.Conn) *websocket.CloseError {
	t.Helper()
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			require.IsType(t, &websocket.CloseError{}, err)
			return err.(*websocket.CloseError)
		}
	}
}

func send(t testing.TB, ws *websocket.Conn, text string) {
	t.Helper()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func refreshWith(token string) string { return `{"type":"auth","token":"` + token + `"}` }

// logs collects what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf is the JWK of a key in the ring.
func jwkOf(a Algorithm, id string) map[string]any {
	k := map[string]any{"kid": id}
	switch p := ring().key(a, "").Public.(type) {
	case nil:
		k["kty"], k["k"] = "oct", b64(ring().hmac)
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(point) - 1) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", p.Curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(p)
	}
	return k
}

func jwksOf(keys ...map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return b
}

// putFile replaces a file as JWTConfig.KeyFile wants it.
func putFile(t testing.TB, path string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func keyFileOf(t testing.TB, keys ...map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	putFile(t, path, jwksOf(keys...))
	return path
}

// sessionsOf counts the open ones.
func sessionsOf(a *Auth) int {
	a.sessions.mu.Lock()
	defer a.sessions.mu.Unlock()
	return a.sessions.open
}
