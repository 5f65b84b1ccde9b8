package bench

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// What connections hold is found, near enough: the server is this process, whose
// client ends count, too.
func TestIdle(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // no /proc; the error of TestIdleUnknown is all that there is
	}
	const each = 256 << 10
	target := serve(t, false, func(conn *websocket.Conn) {
		held := make([]byte, each)
		for i := range held {
			held[i] = 1
		}
		echoAll(conn)
		runtime.KeepAlive(held)
	})
	target.PID = os.Getpid()
	r, err := Idle{Connections: 200, Settle: 50 * time.Millisecond}.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.EqualValues(t, 200, r.Messages)
	require.InDelta(t, each, r.Memory.User, each/2)
	require.Equal(t, "idle: 200 connections", r.Name)
}

func TestIdleUnknown(t *testing.T) {
	_, err := Idle{Connections: 1}.Run(t.Context(), serve(t, false, echoAll), nil)
	require.ErrorContains(t, err, "cannot be read")
}
