package bench

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Clients come and go for the whole time, each with one message, and leave in order.
func TestStorm(t *testing.T) {
	for _, tls := range transports() {
		var came, orderly atomic.Int64
		target := serve(t, tls, func(conn *websocket.Conn) {
			came.Add(1)
			n := 0
			for {
				kind, message, err := conn.ReadMessage()
				if websocket.IsCloseError(err, websocket.CloseNormalClosure) && n == 1 {
					orderly.Add(1)
				}
				if err != nil {
					return
				}
				n++
				_ = conn.WriteMessage(kind, message)
			}
		})
		r, err := Storm{Clients: 3, Duration: time.Second}.Run(t.Context(), target, nil)
		require.NoError(t, err)
		require.Empty(t, r.Failures)
		require.Greater(t, r.Messages, int64(10))
		require.Equal(t, map[string]any{"clients": 3, "payload": 128, "warmup": "0s", "duration": "1s", "url": target.URL}, r.Settings)
		require.Positive(t, r.Latency.P50)
		require.Eventually(t, func() bool { return came.Load() == orderly.Load() }, 10*time.Second, time.Millisecond)
		require.GreaterOrEqual(t, came.Load(), r.Messages)
		require.GreaterOrEqual(t, r.Messages, came.Load()*9/10-3, "few come when the window is over: three, and those of a clock held up")
	}
}

// A server that echoes something else, or hangs up, fails the clients.
func TestStormFails(t *testing.T) {
	for want, answer := range map[FailureKind]func(conn *websocket.Conn) error{
		FailureContent: func(conn *websocket.Conn) error {
			return conn.WriteMessage(websocket.BinaryMessage, make([]byte, 128))
		},
		FailureClosed: func(*websocket.Conn) error { return errors.New("enough") },
	} {
		target := serve(t, false, func(conn *websocket.Conn) {
			echoWith(conn, func(_, _ int, _ []byte) error { return answer(conn) })
		})
		begin := time.Now()
		r, err := Storm{Clients: 2, Duration: 200 * time.Millisecond}.Run(t.Context(), target, nil)
		require.NoError(t, err)
		most := int(2 * (1 + time.Since(begin)/(8*time.Millisecond)))
		require.Greater(t, r.Errors, 2, "others come after those that failed")
		require.Less(t, r.Errors, most, "but not without a pause")
		require.Equal(t, want, r.Failures[0].Kind)
		require.False(t, r.Partial)
		require.Zero(t, r.Messages)
	}
}

// One client that fails does not make the load a lighter one.
func TestStormGoesOn(t *testing.T) {
	var came atomic.Int64
	target := serve(t, false, func(conn *websocket.Conn) {
		if came.Add(1) > 2 {
			echoAll(conn)
		}
	})
	r, err := Storm{Clients: 2, Duration: 200 * time.Millisecond}.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Equal(t, 2, r.Errors)
	require.Greater(t, r.Messages, int64(10))
}
