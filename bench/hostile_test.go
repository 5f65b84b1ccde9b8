package bench

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame/deflate"
)

// bareTarget is an echo server that agrees to nothing.
func bareTarget(t *testing.T) Target {
	var upgrader websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			defer conn.Close()
			echoAll(conn)
		}
	}))
	t.Cleanup(server.Close)
	return Target{URL: "ws" + strings.TrimPrefix(server.URL, "http") + "/"}
}

// Each kind does to a server what its name says, and those beside it go on. (A bomb
// is not for this server, which has no limit for what it inflates.)
func TestHostile(t *testing.T) {
	for kind, end := range map[HostileKind]string{
		HostileUnread:    endedByRun,
		HostileSilent:    endedByRun,
		HostileReset:     "reset by the peer",
		HostileFragments: endedByRun,
		HostilePings:     endedByRun,
		HostileAnnounce:  "closed with 1009",
		HostileDrip:      endedByRun,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			seen := make(chan error, 1000)
			target := serve(t, false, func(conn *websocket.Conn) {
				conn.SetReadLimit(1<<20 - 1)
				echoWith(conn, func(_, k int, message []byte) error { return conn.WriteMessage(k, message) })
				_, _, err := conn.ReadMessage() // the error that ended the loop stays
				seen <- err
			})
			e := short(Echo{Connections: 2, Duration: 300 * time.Millisecond, Beside: []Hostile{{kind, 3}}})
			r, err := e.Run(t.Context(), target, nil)
			require.NoError(t, err)
			require.Empty(t, r.Failures)
			require.Len(t, r.Beside, 1)
			got := r.Beside[0]
			require.Equal(t, kind, got.Kind)
			require.GreaterOrEqual(t, got.Attempts, 3)
			require.Positive(t, got.Ends[end], "%v", got.Ends)
			total := 0
			for _, n := range got.Ends {
				total += n
			}
			require.Equal(t, got.Attempts, total)
			if kind == HostileAnnounce {
				require.True(t, errors.Is(<-seen, websocket.ErrReadLimit))
			}
		})
	}
}

// Over TLS, too, they do what they do, and are gone when the run is.
func TestHostileTLS(t *testing.T) {
	if !slices.Contains(transports(), true) {
		t.Skip("the test's certificate is trusted on Linux only")
	}
	e := short(Echo{Connections: 1, Duration: 200 * time.Millisecond})
	for kind := range hostileKinds {
		if kind != HostileBomb {
			e.Beside = append(e.Beside, Hostile{kind, 2})
		}
	}
	target := serve(t, true, echoAll)
	began := time.Now()
	r, err := e.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 4*time.Second, "none waits to say goodbye")
	require.Empty(t, r.Failures)
	for _, h := range r.Beside {
		require.GreaterOrEqual(t, h.Attempts, 2, h.Kind)
		require.Zero(t, h.Ends["refused"], "%v: %v", h.Kind, h.Ends)
		require.Zero(t, h.Ends["not connected"], "%v: %v", h.Kind, h.Ends)
	}
}

// The bomb is a message of 1000 MiB that a limit of 1 MiB on the wire lets in.
func TestBomb(t *testing.T) {
	b := bomb()
	require.Less(t, len(b), 1<<20)
	_, err := deflate.Inflate(nil, b, 64<<20, 0, nil)
	require.ErrorIs(t, err, deflate.ErrTooBig)
}

func TestHostileConfig(t *testing.T) {
	var config *ConfigError
	require.ErrorAs(t, Echo{Beside: []Hostile{{Kind: hostileKinds}}}.Validate(), &config)
	require.Equal(t, "Hostile.Kind", config.Field)
	require.ErrorAs(t, Echo{Beside: []Hostile{{Count: -1}}}.Validate(), &config)
	require.Equal(t, "Hostile.Count", config.Field)
	var kind HostileKind
	require.NoError(t, kind.UnmarshalText([]byte("bomb")))
	require.Equal(t, HostileBomb, kind)
	require.ErrorContains(t, kind.UnmarshalText([]byte("nice")), "allowed: one of")
}
