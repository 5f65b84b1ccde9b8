package relay_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/relay"
	"github.com/penstock-ws/penstock/interceptors"
)

const (
	secret = "s3cret-of-the-workers"
	wrong  = "canary-that-nobody-may-log"
)

// A log collects what the relay and its engine say.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type fixture struct {
	interceptors.OutboundOnly
	held func(text string) // sees what is about to be sent to clients of /held

	t     *testing.T
	s     *enginetest.Server
	relay *relay.Relay
	log   *log
}

func start(t *testing.T, cfg relay.Config) *fixture { return startWith(t, engine.Config{}, cfg) }

func startWith(t *testing.T, ec engine.Config, cfg relay.Config) *fixture {
	f := &fixture{t: t, log: new(log)}
	ec.Logger = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Logger = ec.Logger
	if cfg.Secrets == nil {
		cfg.Secrets = []string{"an older one", secret}
	}
	f.s = enginetest.Start(t, ec, engine.Endpoint{})
	r, err := relay.New(f.s.Engine, cfg)
	require.NoError(t, err)
	f.relay = r
	f.s.Handle("/relay", engine.Endpoint{Handler: r.Handler()})
	f.s.Handle("/held", engine.Endpoint{Handler: r.Handler(), Interceptors: []interceptors.Interceptor{f}})
	t.Cleanup(func() {
		for _, s := range []string{secret, wrong} {
			require.NotContains(t, f.log.String(), s, "a secret was logged")
		}
	})
	return f
}

// fill sends to the clients, to whom nobody else does, until they take no more. Kernels
// take some more a little later.
func (f *fixture) fill() {
	for c := range f.relay.Clients().Conns() {
		for quiet := 0; quiet < 5; quiet++ {
			for c.SendText(strings.Repeat("x", 32<<10)) == nil {
				quiet = 0
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func (f *fixture) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if f.held != nil {
		f.held(string(out.Data))
	}
	return next.Run(ctx, out)
}

func (f *fixture) dial(query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	return websocket.DefaultDialer.Dial(f.s.URL()+"relay?"+query, header)
}

func (f *fixture) client(query string, header ...string) *websocket.Conn {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	ws, _, err := f.dial(query, h)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func say(t *testing.T, ws *websocket.Conn, text string) {
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func hear(t *testing.T, ws *websocket.Conn) string {
	_ = ws.SetReadDeadline(time.Now().Add(enginetest.Patience))
	_, m, err := ws.ReadMessage()
	require.NoError(t, err)
	return string(m)
}

func hearEnd(t *testing.T, ws *websocket.Conn) *websocket.CloseError {
	_ = ws.SetReadDeadline(time.Now().Add(enginetest.Patience))
	for {
		_, _, err := ws.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			require.ErrorAs(t, err, &closed)
			return closed
		}
	}
}

const (
	online  = `{"type":"worker_status","online":true}`
	offline = `{"type":"worker_status","online":false}`
)

// E1: client is the default; what is neither client nor worker is refused.
func TestE1ClientType(t *testing.T) {
	f := start(t, relay.Config{})
	for _, query := range []string{"", "client_type=client", "client_type=worker&token=" + secret} {
		ws := f.client(query)
		say(t, ws, "ping")
		require.Equal(t, "pong", hear(t, ws))
	}
	for _, query := range []string{"client_type=admin", "client_type=", "client_type=client&client_type=worker", "client_type=worker;token=" + wrong, "client_type=%zz", "client_type=worker&token=" + wrong + "%"} {
		_, resp, err := f.dial(query, nil)
		require.Error(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, query)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NotContains(t, string(text), wrong)
	}
	require.Equal(t, 2, f.relay.Clients().Len())
	require.Equal(t, 1, f.relay.Workers().Len())
}

// E2: a worker shows a secret, by header or query, any of those that are valid.
func TestE2WorkerSecret(t *testing.T) {
	f := start(t, relay.Config{})
	for _, w := range []*websocket.Conn{
		f.client("client_type=worker", "X-Worker-Secret", secret),
		f.client("client_type=worker", "X-Worker-Secret", "an older one"),
		f.client("client_type=worker&token=" + secret),
		f.client("client_type=worker&token="+secret, "X-Worker-Secret", wrong),
	} {
		say(t, w, "ping")
		require.Equal(t, "pong", hear(t, w))
	}
	require.Equal(t, 4, f.relay.Workers().Len())
	require.Zero(t, f.relay.Stats().Refused)
}

// E2: without one it is closed with 1008, so that a browser sees why; nothing it sends
// is relayed, and it hears nothing.
func TestE2Impostor(t *testing.T) {
	f := start(t, relay.Config{})
	c := f.client("")
	for _, query := range []string{"", "&token=" + wrong, "&token=", "&token=" + secret + "x", "&token=" + secret[1:]} {
		ws := f.client("client_type=worker"+query, "X-Worker-Secret", wrong)
		_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"from":"impostor"}`))
		require.Equal(t, websocket.ClosePolicyViolation, hearEnd(t, ws).Code)
	}
	require.EqualValues(t, 5, f.relay.Stats().Refused)
	require.False(t, f.relay.WorkerOnline())
	say(t, c, "ping")
	require.Equal(t, "pong", hear(t, c), "an impostor was relayed, or announced")
}

// E2: by option it is refused before the upgrade.
func TestE2RefuseUpgrade(t *testing.T) {
	f := start(t, relay.Config{RefuseUpgrade: true})
	_, resp, err := f.dial("client_type=worker&token="+wrong, nil)
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	f.client("client_type=worker&token=" + secret)
}

// E4: who asks is told, and changes are announced: only those of the first and the last.
func TestE4WorkerStatus(t *testing.T) {
	f := start(t, relay.Config{})
	c := f.client("")
	say(t, c, "get_worker_status")
	require.JSONEq(t, offline, hear(t, c))
	say(t, c, "ping") // behind the status, which is told once more if it changes meanwhile
	require.Equal(t, "pong", hear(t, c))
	first := f.client("client_type=worker&token=" + secret)
	require.JSONEq(t, online, hear(t, c))
	second := f.client("client_type=worker&token=" + secret)
	say(t, second, "get_worker_status")
	require.JSONEq(t, online, hear(t, second))
	require.NoError(t, first.Close())
	enginetest.Await(t, func() bool { return f.relay.Workers().Len() == 1 }, "the first worker has left")
	say(t, c, "ping")
	require.Equal(t, "pong", hear(t, c), "one of two workers has left: nothing has changed")
	require.NoError(t, second.NetConn().Close()) // E6: a crash
	require.JSONEq(t, offline, hear(t, c))
	say(t, c, "get_worker_status")
	require.JSONEq(t, offline, hear(t, c))
}

// E5: a worker's JSON objects go to all clients as they are; nothing else does.
func TestE5Relay(t *testing.T) {
	f := start(t, relay.Config{})
	a, b := f.client(""), f.client("client_type=client")
	w := f.client("client_type=worker&token=" + secret)
	for _, c := range []*websocket.Conn{a, b} {
		require.JSONEq(t, online, hear(t, c))
	}
	for _, text := range []string{"[1]", `"x"`, "1", "null", "{", `{"a":1}x`, "", "{}{}"} {
		say(t, w, text)
	}
	require.NoError(t, w.WriteMessage(websocket.BinaryMessage, []byte(`{"binary":1}`)))
	const text = " \t{\"type\": \"tick\",  \"n\": 1} "
	say(t, w, text)
	for _, c := range []*websocket.Conn{a, b} {
		require.Equal(t, text, hear(t, c))
	}
	require.Equal(t, relay.Stats{Relayed: 1, InvalidJSON: 5, NotObjects: 4}, f.relay.Stats())
	require.Contains(t, f.log.String(), "dropped")
	require.NotContains(t, f.log.String(), "binary\\\":1")
	say(t, w, "ping")
	require.Equal(t, "pong", hear(t, w), "a worker hears what it has said")
}

// E5: what a client was too slow for is counted.
func TestE5Missed(t *testing.T) {
	f := startWith(t, engine.Config{HighWaterBytes: 64 << 10}, relay.Config{})
	slow := f.client("")
	w := f.client("client_type=worker&token=" + secret)
	require.JSONEq(t, online, hear(t, slow))
	f.fill()
	text := `{"x":"` + strings.Repeat("x", 32<<10) + `"}`
	for range 3 {
		say(t, w, text)
	}
	say(t, w, "ping")
	require.Equal(t, "pong", hear(t, w))
	require.Equal(t, relay.Stats{Relayed: 3, Missed: 3}, f.relay.Stats())
}

// What clients say goes nowhere, or to the program.
func TestClientsAreNotRelayed(t *testing.T) {
	f := start(t, relay.Config{})
	a, b := f.client(""), f.client("")
	say(t, a, `{"from":"client"}`)
	say(t, a, "ping")
	require.Equal(t, "pong", hear(t, a))
	require.EqualValues(t, 1, f.relay.Stats().Unknown)
	say(t, b, "ping")
	require.Equal(t, "pong", hear(t, b))

	heard := make(chan string, 1)
	f = start(t, relay.Config{OnClient: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
		heard <- string(m.Data)
		return nil
	}})
	say(t, f.client(""), "hello")
	require.Equal(t, "hello", <-heard)
}

// E4, E6: a client that is too slow for an announcement knows the truth in the end.
func TestE6SlowClientLearnsTheStatus(t *testing.T) {
	f := startWith(t, engine.Config{HighWaterBytes: 64 << 10}, relay.Config{})
	slow := f.client("")
	say(t, slow, "ping")
	require.Equal(t, "pong", hear(t, slow))
	w := f.client("client_type=worker&token=" + secret)
	require.JSONEq(t, online, hear(t, slow))
	f.fill()
	require.NoError(t, w.NetConn().Close())
	enginetest.Await(t, func() bool { return !f.relay.WorkerOnline() }, "the worker has left")
	for hear(t, slow) != offline { // or hear fails the test
	}
}

// E4: who has missed no status, or has got it since, is not told again.
func TestE6NothingIsOwedTwice(t *testing.T) {
	f := startWith(t, engine.Config{HighWaterBytes: 64 << 10}, relay.Config{})
	slow := f.client("")
	say(t, slow, "ping")
	require.Equal(t, "pong", hear(t, slow))
	statuses := func() (n int) {
		say(t, slow, "ping") // which is read when it has drained
		for text := ""; text != "pong"; {
			if text = hear(t, slow); text == online || text == offline {
				n++
			}
		}
		return n
	}
	f.fill()
	require.Zero(t, statuses())
	f.fill()
	f.client("client_type=worker&token=" + secret)
	enginetest.Await(t, func() bool { return f.relay.WorkerOnline() }, "a worker has come")
	require.Equal(t, 1, statuses())
	f.fill()
	require.Zero(t, statuses())
}

// E4: an answer that the announcement of a change overtakes is given again.
func TestE4OvertakenAnswer(t *testing.T) {
	f := start(t, relay.Config{})
	var once sync.Once
	f.held = func(text string) {
		if text != offline {
			return
		}
		once.Do(func() {
			f.client("client_type=worker&token=" + secret)
			enginetest.Await(t, func() bool { return f.relay.WorkerOnline() }, "a worker has come")
		})
	}
	c, _, err := websocket.DefaultDialer.Dial(f.s.URL()+"held", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	say(t, c, "get_worker_status")
	var heard []string
	for range 3 {
		heard = append(heard, hear(t, c))
	}
	require.Equal(t, online, heard[2])
	require.Contains(t, heard, offline)
}

// E4: whoever is told of a change finds it.
func TestE4ChangeIsThereBeforeItIsAnnounced(t *testing.T) {
	f := start(t, relay.Config{})
	told := make(chan bool, 1)
	f.held = func(text string) {
		if text == online {
			told <- f.relay.WorkerOnline()
		}
	}
	c, _, err := websocket.DefaultDialer.Dial(f.s.URL()+"held", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	f.client("client_type=worker&token=" + secret)
	require.True(t, <-told)
}

// E4: of the statuses that wait for a slow client only the last is left.
func TestE4OnlyTheLastStatusWaits(t *testing.T) {
	f := startWith(t, engine.Config{HighWaterBytes: 64 << 20}, relay.Config{})
	slow := f.client("")
	say(t, slow, "ping")
	require.Equal(t, "pong", hear(t, slow))
	for c := range f.relay.Clients().Conns() { // nobody but the test sends to it
		for range 1 << 10 { // more than sockets hold
			require.NoError(t, c.SendText(strings.Repeat("x", 32<<10)))
		}
	}
	for range 3 {
		w := f.client("client_type=worker&token=" + secret)
		enginetest.Await(t, func() bool { return f.relay.WorkerOnline() }, "a worker has come")
		require.NoError(t, w.NetConn().Close())
		enginetest.Await(t, func() bool { return !f.relay.WorkerOnline() }, "the worker has left")
	}
	statuses := 0
	for text := ""; text != "pong"; {
		if text = hear(t, slow); text == online || text == offline {
			require.Equal(t, offline, text)
			if statuses++; statuses == 1 {
				say(t, slow, "ping")
			}
		}
	}
	require.Equal(t, 1, statuses)
}

// E4: answers and announcements that cross each other leave a client with the truth.
func TestE4FinalStatusIsTrue(t *testing.T) {
	f := start(t, relay.Config{})
	c := f.client("")
	stop := make(chan struct{})
	asked := make(chan struct{})
	go func() { // the only one that writes to c until it is done
		defer close(asked)
		for {
			select {
			case <-stop:
				return
			default:
				if c.WriteMessage(websocket.TextMessage, []byte("get_worker_status")) != nil {
					return
				}
			}
		}
	}()
	last := false
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			_, m, err := c.ReadMessage()
			if err != nil || string(m) == "pong" {
				return
			}
			last = string(m) == online
		}
	}()
	for range 100 {
		w := f.client("client_type=worker&token=" + secret)
		say(t, w, "ping")
		require.Equal(t, "pong", hear(t, w))
		require.NoError(t, w.NetConn().Close())
		enginetest.Await(t, func() bool { return !f.relay.WorkerOnline() }, "the worker has left")
	}
	close(stop)
	<-asked
	say(t, c, "ping")
	<-heard
	require.False(t, last)
}

func TestBadConfig(t *testing.T) {
	f := start(t, relay.Config{})
	_, err := relay.New(f.s.Engine, relay.Config{})
	require.Error(t, err)
	_, err = relay.New(f.s.Engine, relay.Config{Secrets: []string{secret, ""}})
	require.Error(t, err)
	require.NotContains(t, err.Error(), secret)
}
