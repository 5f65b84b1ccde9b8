package engine_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// An onlooker keeps what an interceptor of a client sees.
type onlooker struct {
	mu  sync.Mutex
	in  []engine.Message
	out []interceptors.Outbound
}

func (*onlooker) Admit(r *http.Request) error {
	r.Header.Set("X-From-Admit", "yes")
	return nil
}

func (w *onlooker) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	w.mu.Lock()
	w.in = append(w.in, in.Clone())
	w.mu.Unlock()
	return next.Run(ctx, in)
}

func (w *onlooker) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	w.mu.Lock()
	w.out = append(w.out, out.Clone())
	w.mu.Unlock()
	return next.Run(ctx, out)
}

// A8: a client runs the same chain: it sees target, header and subprotocols of what goes
// out, types, data and closes in both directions, and may add to the handshake.
func TestA8ClientRunsTheChain(t *testing.T) {
	header := make(chan http.Header, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
		Subprotocols: []string{"v2"},
		Handler: engine.Handler{
			Admit:     func(r *http.Request) error { header <- r.Header.Clone(); return nil },
			OnMessage: echo,
		},
	})
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	require.NoError(t, err)
	w := new(onlooker)
	c, err := engine.Dial(t.Context(), s.URL()+"path?q=1", engine.DialConfig{
		Engine:   e,
		Header:   http.Header{"X-Own": {"mine"}},
		Endpoint: engine.Endpoint{Subprotocols: []string{"v1", "v2"}, Interceptors: []interceptors.Interceptor{w}},
	})
	require.NoError(t, err)
	sent := <-header
	require.Equal(t, []string{"mine", "yes", "v1, v2"}, []string{sent.Get("X-Own"), sent.Get("X-From-Admit"), sent.Get("Sec-WebSocket-Protocol")})
	require.NoError(t, c.SendText("hello"))
	m, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(m.Data))
	require.NoError(t, c.Ping([]byte("p")))
	require.NoError(t, c.Close(4001, "done"))
	require.NoError(t, e.Shutdown(context.Background()))

	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(t, w.out, 3)
	for i, want := range []interceptors.Outbound{
		{Type: frame.Text, Data: []byte("hello")}, {Type: frame.Ping, Data: []byte("p")}, {Type: frame.Close, CloseCode: 4001, CloseReason: "done"},
	} {
		got := w.out[i]
		require.Equal(t, s.URL()+"path?q=1", got.Peer.Target)
		require.Equal(t, "mine", got.Peer.Header.Get("X-Own"))
		require.Equal(t, []string{"v1", "v2"}, got.Peer.Subprotocols)
		require.Equal(t, want.Type, got.Type)
		require.Equal(t, string(want.Data), string(got.Data))
		require.Equal(t, want.CloseCode, got.CloseCode)
		require.Equal(t, want.CloseReason, got.CloseReason)
	}
	require.Equal(t, frame.Text, w.in[0].Type)
	last := w.in[len(w.in)-1]
	require.Equal(t, []any{frame.Close, frame.CloseCode(4001)}, []any{last.Type, last.CloseCode})
}
