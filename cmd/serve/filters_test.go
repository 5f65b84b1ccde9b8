package serve

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/frame"
)

// A diary keeps what filters have seen, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
	gone  chan struct{}
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// filter notes all four events under a name. The one called "last" tells when a
// connection has gone, and answers messages by putting them from outside.
func (d *diary) filter(name string) filters.Constructor {
	return func(env filters.Env) (filters.Filter, error) {
		f := filters.Filter{OnConsume: func(context.Context, *engine.Conn, *engine.Message) error {
			d.note("consumer " + name)
			return nil
		}}
		f.Handler.OnData = func(*engine.Conn, []byte) { d.note("data " + name) }
		f.Handler.OnMessage = func(_ context.Context, c *engine.Conn, m engine.Message) error {
			d.note("message " + name)
			if name == "last" {
				put := bytes.Clone(m.Data)
				c.Go(func(ctx context.Context) { _, _ = env.Put(ctx, frame.Text, put, c) })
			}
			return nil
		}
		f.Handler.OnClose = func(*engine.Conn, *engine.CloseError) {
			d.note("disconnect " + name)
			if name == "last" {
				close(d.gone)
			}
		}
		return f, nil
	}
}

// B1, B4: four pipelines, each in the order named, of filters of a program's own.
func TestB1FourPipelines(t *testing.T) {
	d := &diary{gone: make(chan struct{})}
	r := filters.Stock()
	for _, name := range []string{"one", "last"} {
		require.NoError(t, r.Register(name, d.filter(name)))
	}
	ws := dial(t, serveURL(t, r, "-f", "one", "last"))
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, ws.Close())
	<-d.gone
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, []string{
		"data one", "data last", "message one", "message last", "consumer one", "consumer last", "disconnect one", "disconnect last",
	}, d.lines)
}

// B4: what a filter has from its environment is the command's: its output, and a
// context that ends with the server.
func TestB4EnvironmentOfAFilter(t *testing.T) {
	ended := make(chan struct{})
	r := filters.Stock()
	var put filters.PutFunc
	require.NoError(t, r.Register("timer", func(env filters.Env) (filters.Filter, error) {
		put = env.Put
		go func() { // until the server ends
			<-env.Context.Done()
			close(ended)
		}()
		_, err := io.WriteString(env.Stdout, env.Getenv("TIMER_GREETING")+"\n")
		return filters.Filter{}, err
	}))
	t.Setenv("TIMER_GREETING", "good morning")
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	cmd := NewCommand(Config{Filters: r})
	cmd.SetArgs([]string{"-p", "0", "timer"})
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }() // until cancel
	text := make([]byte, 200)
	n, err := out.Read(text)
	require.NoError(t, err)
	require.Equal(t, "good morning\n", string(text[:n]))
	n, err = out.Read(text)
	require.NoError(t, err)
	ws := dial(t, strings.TrimSpace(strings.TrimPrefix(string(text[:n]), "listening on ")))
	require.Eventually(t, func() bool {
		tally, err := put(ctx, frame.Text, []byte("tick"))
		return err == nil && tally.Queued == 1
	}, patience, time.Millisecond)
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "tick", string(got))
	select {
	case <-ended:
		t.Fatal("too early")
	default:
	}
	cancel()
	_ = ws.Close()
	require.NoError(t, <-done)
	<-ended
}

// TestConstructorErrorIsUsage: a filter that cannot be made for want of a setting is an
// error of usage, and nothing has been printed.
func TestConstructorErrorIsUsage(t *testing.T) {
	t.Setenv("WORKER_SECRET", "")
	var out strings.Builder
	cmd := NewCommand(Config{})
	cmd.SetArgs([]string{"-p", "0", "-f", "worker_relay"})
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	var usage *UsageError
	require.ErrorAs(t, cmd.Execute(), &usage)
	require.Empty(t, out.String())
}

// TestUnderscores: every flag can be written with them.
func TestUnderscores(t *testing.T) {
	ws := dial(t, serveURL(t, nil, "--max_message_bytes=1000", "--log_level=error", "--allow_origin=*", "echo_messages"))
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, make([]byte, 1001)))
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseMessageTooBig), "%v", err)
}
