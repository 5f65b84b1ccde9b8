package hub_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A crowd is a hub and the engine of its clients in one process, without sockets:
// connections are pipes, so there may be any number.
type crowd struct {
	t      testing.TB
	hub    *hub.Hub
	client *engine.Engine
	pipes  *pipes
	opened sync.Map // of the clients' IDs: chan *engine.Conn
}

// pipes is a net.Listener and dials itself.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gather starts a crowd. The handler is that of the server's connections.
func gather(t testing.TB, cfg engine.Config, hubConfig hub.Config, handler engine.Handler) *crowd {
	server, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	client, err := engine.New(engine.Config{}, engine.Endpoint{})
	require.NoError(t, err)
	w := &crowd{t: t, hub: hub.New(server, hubConfig), client: client, pipes: &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}}
	next := handler.OnOpen
	handler.OnOpen = func(ctx context.Context, c *engine.Conn) error {
		if next != nil {
			if err := next(ctx, c); err != nil {
				return err
			}
		}
		found, _ := w.opened.LoadAndDelete(c.Scope().Header("Id"))
		found.(chan *engine.Conn) <- c
		return nil
	}
	srv := &http.Server{Handler: server.Endpoint(engine.Endpoint{Handler: w.hub.Handler(handler)})}
	go func() { _ = srv.Serve(w.pipes) }() // ends when the pipes are closed
	t.Cleanup(func() {
		require.NoError(t, server.Shutdown(context.Background()))
		require.NoError(t, client.Shutdown(context.Background()))
		require.NoError(t, srv.Close())
		require.Zero(t, w.hub.All().Len())
	})
	return w
}

// connect returns both ends of a connection. id is told from others.
func (w *crowd) connect(id string, client engine.Handler) (near, far *engine.Conn) {
	opened := make(chan *engine.Conn, 1)
	w.opened.Store(id, opened)
	near, err := engine.Dial(context.Background(), "ws://crowd/", engine.DialConfig{
		Engine:   w.client,
		Endpoint: engine.Endpoint{Handler: client, Inline: true},
		Header:   http.Header{"Id": {id}},
		NetDial:  w.pipes.dial,
	})
	if err != nil {
		w.t.Error(err)
		return nil, nil
	}
	return near, <-opened
}
