package interceptors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestHeartbeat(t *testing.T) {
	in, n := handled(interceptors.Heartbeat(interceptors.HeartbeatConfig{}))
	c := newConn(t)
	require.NoError(t, in(c, text("ping")))
	assert.Zero(t, *n, "the handler saw a heartbeat")
	assert.Equal(t, []string{"text pong"}, c.sent)
	for _, other := range []string{"", "pin", "pings", "PING", "pong"} {
		require.NoError(t, in(c, text(other)))
	}
	require.NoError(t, in(c, interceptors.Inbound{Type: frame.Binary, Data: []byte("ping")}))
	assert.Equal(t, 6, *n)
	assert.Len(t, c.sent, 1)

	in, _ = handled(interceptors.Heartbeat(interceptors.HeartbeatConfig{Ping: `{"type":"ping"}`, Pong: `{"type":"pong"}`}))
	require.NoError(t, in(c, text(`{"type":"ping"}`)))
	assert.Equal(t, `text {"type":"pong"}`, c.sent[1])
	assert.Error(t, in(t.Context(), text(`{"type":"ping"}`)), "without a connection nobody would be answered")
}

// What an interceptor before it has made binary is no heartbeat.
func TestHeartbeatOfAnotherType(t *testing.T) {
	change := hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		in.Type = frame.Binary
		return next.Run(ctx, in)
	}}
	in, n := handled(change, interceptors.Heartbeat(interceptors.HeartbeatConfig{}))
	require.NoError(t, in(newConn(t), text("ping")))
	assert.Equal(t, 1, *n)
}

// A peer that is too slow for its pong is not punished for it.
func TestHeartbeatOfASlowPeer(t *testing.T) {
	in, n := handled(interceptors.Heartbeat(interceptors.HeartbeatConfig{}))
	require.NoError(t, in(context.WithValue(t.Context(), interceptors.SenderKey{}, congested{}), text("ping")))
	assert.Zero(t, *n)
}

type congested struct{}

func (congested) Send(frame.Opcode, []byte) error { return errors.New("congested") }

func TestReply(t *testing.T) {
	c := newConn(t)
	derived, cancel := context.WithCancel(c)
	defer cancel()
	require.NoError(t, interceptors.Reply(derived, frame.Binary, []byte("b")))
	assert.Equal(t, []string{"binary b"}, c.sent)
	require.Error(t, interceptors.Reply(t.Context(), frame.Text, nil))
}
