package app_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/engine/auth"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/interceptors"
)

// C8, C9: package auth authenticates an app's connections, where users are required and
// where they are welcome, and ends them; no token of theirs is logged.
func TestC9PackageAuth(t *testing.T) {
	key := []byte("canary-key-of-at-least-32-bytes-length")
	token := func(user string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": user, "aud": "alpha", "email": user + "@example.com", "exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString(key)
		require.NoError(t, err)
		return text
	}
	logs := new(locked)
	ec := engine.Config{Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s := enginetest.Start(t, ec, engine.Endpoint{})
	verifier, err := auth.JWT(auth.JWTConfig{Algorithms: []auth.Algorithm{auth.HS256}, Keys: []auth.Key{{Secret: key}}, Audience: []string{"alpha"}})
	require.NoError(t, err)
	required, err := auth.New(auth.Config{Verifiers: []auth.Verifier{verifier}, Logger: ec.Logger}, ec)
	require.NoError(t, err)
	welcome, err := auth.New(auth.Config{Verifiers: []auth.Verifier{verifier}, AllowAnonymous: true, Logger: ec.Logger}, ec)
	require.NoError(t, err)
	apps, err := app.New(s.Engine, app.Config{
		Manifests: []app.Manifest{manifest(t, alpha)},
		Auth: func(_, endpoint string) interceptors.Interceptor {
			if endpoint == "open" {
				return welcome.Interceptor()
			}
			return required.Interceptor()
		},
		Email: func(c *engine.Conn) string {
			id, _ := auth.Of(c)
			return id.Email
		},
		Logger: ec.Logger,
	})
	require.NoError(t, err)
	apps.Mount(app.RouterFunc(s.HandleHTTP))
	f := &fixture{t: t, s: s, apps: apps, logs: logs}

	good, bad := token("ann"), token("ann")+"x"
	for path, status := range map[string]int{"alpha": http.StatusUnauthorized, "alpha?token=" + bad: http.StatusUnauthorized, "alpha/open?token=" + bad: http.StatusUnauthorized} {
		_, resp, err := websocket.DefaultDialer.Dial(s.URL()+path, nil)
		require.Error(t, err)
		require.Equal(t, status, resp.StatusCode)
	}
	require.Equal(t, false, f.dial("/alpha/open").hear()["authenticated"])
	welcomed := f.open("/alpha/open?token=" + good)
	c := f.open("/alpha?token=" + good)
	n := 0
	for conn := range f.app("alpha").User("ann").Connections() {
		require.Equal(t, "ann@example.com", conn.UserEmail)
		require.NotContains(t, conn.Conn().Scope().RawQuery(), good)
		n++
	}
	require.Equal(t, 2, n)
	require.Equal(t, 1, required.RevokeUser("ann"))
	c.hearEnd(websocket.ClosePolicyViolation)
	require.Equal(t, 1, welcome.RevokeUser("ann"))
	welcomed.hearEnd(websocket.ClosePolicyViolation)
	for _, secret := range []string{good, bad, string(key), strings.Split(good, ".")[2]} {
		require.NotContains(t, logs.String(), secret)
	}
}
