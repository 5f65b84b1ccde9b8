package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// A recorder is a logger that keeps what it is given.
type recorder struct {
	mu   sync.Mutex
	list []slog.Record
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }
func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, record)
	return nil
}

// containing returns the attribute name of all records whose message contains part.
func (r *recorder) containing(part, name string) (values []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.list {
		if !strings.Contains(record.Message, part) {
			continue
		}
		value := ""
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == name {
				value = a.Value.String()
			}
			return true
		})
		values = append(values, value)
	}
	return values
}

// The crashes have names, for the stack.
func panicOnLoop()  { panic("as the test wants it") }
func goexitOnLoop() { runtime.Goexit() }
func lockOnLoop()   { runtime.LockOSThread() }

// loopCrashes are what a handler may do to the goroutine that it runs on.
var loopCrashes = map[string]struct {
	crash func()
	logs  string // what a log record contains; "": the connection goes on
	stack string // what its stack contains
}{
	"panic":        {panicOnLoop, "a handler panicked", "panicOnLoop"},
	"Goexit":       {goexitOnLoop, "a handler called runtime.Goexit", ""},
	"LockOSThread": {lockOnLoop, "", ""},
}

// loopCrashSites are endpoints that crash for a connection that was opened with
// "/crash": at its beginning, at a message that begins with "crash", or at the end that
// such a message brings about.
var loopCrashSites = map[string]func(crash func()) engine.Endpoint{
	"OnMessage": func(crash func()) engine.Endpoint {
		return onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if bytes.HasPrefix(m.Data, []byte("crash")) {
				crash()
			}
			return echo(ctx, c, m)
		})
	},
	"interceptor": func(crash func()) engine.Endpoint {
		return with(engine.Handler{OnMessage: echo}, &crasher{crash: crash, in: func(in engine.Message) bool {
			return in.Type != frame.Close && bytes.HasPrefix(in.Data, []byte("crash"))
		}})
	},
	"OnClose": func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if bytes.HasPrefix(m.Data, []byte("crash")) {
					return c.Close(frame.CloseInternalError, "")
				}
				return echo(ctx, c, m)
			},
			OnClose: func(c *engine.Conn, _ *engine.CloseError) {
				if c.Scope().Path() == "/crash" {
					crash()
				}
			},
		}}
	},
	"OnOpen": func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnOpen: func(_ context.Context, c *engine.Conn) error {
			if c.Scope().Path() == "/crash" {
				crash()
			}
			return nil
		}}}
	},
}

// loopArrivals are the ways in which a message comes to a loop. Each sends "crash…",
// and returns what is echoed before it.
var loopArrivals = map[string]func(c *enginetest.Client) (before []string){
	"whole": func(c *enginetest.Client) []string {
		_ = c.TryWrite(fText("crash"))
		return nil
	},
	"in a batch": func(c *enginetest.Client) []string {
		_ = c.TryWrite(wire(fText("1"), fText("2"), fText("crash"), fText("3"), fText("4")))
		return []string{"1", "2"}
	},
	"in fragments": func(c *enginetest.Client) []string {
		_ = c.TryWrite(wire(fStart(confText, "cra"), fPing("")))
		_, _, _ = c.TryReadFrame() // a pong: what came before it has been read
		_ = c.TryWrite(fLast("sh"))
		return nil
	},
	"in a large frame": func(c *enginetest.Client) []string {
		b := fBinary("crash" + patternString(200_000))
		_ = c.TryWrite(append(fPing(""), b[:100_000]...))
		_, _, _ = c.TryReadFrame()
		_ = c.TryWrite(b[100_000:])
		return nil
	},
}

// A bystander is a connection on the same loop whose echoes must come in order.
type bystander struct {
	*enginetest.Client
	large bool
	asked [][]byte
}

// ask sends some messages at once, and for some a large one in two parts and one in
// fragments.
func (b *bystander) ask() {
	var all []byte
	add := func(payload []byte) {
		b.asked = append(b.asked, payload)
		all = append(all, b.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, payload)...)
	}
	for i := range 3 {
		add(fmt.Append(nil, "message ", len(b.asked), i))
	}
	if !b.large {
		b.Write(all)
		return
	}
	add(pattern(200_000 + len(b.asked)))
	b.Write(all[:len(all)/2])
	b.Write(all[len(all)/2:])
	fragmented := pattern(100 + len(b.asked))
	b.SendFragments(frame.Binary, fragmented, 30)
	b.asked = append(b.asked, fragmented)
}

func (b *bystander) requireAnswers(t *testing.T) {
	t.Helper()
	for _, payload := range b.asked {
		requireSame(t, payload, b.ReadMessage().Data)
	}
	b.asked = nil
}

// A handler on a loop that panics or calls runtime.Goexit costs its own connection,
// with 1011, however its message has come; one that keeps the thread costs none. The
// others on the loop are served as before: those whose bytes are found in the same turn,
// and later. Exactly what crashed is logged, a panic with the stack of its handler.
func TestLoopCrash(t *testing.T) {
	for site, endpoint := range loopCrashSites {
		for how, row := range loopCrashes {
			for arrival, act := range loopArrivals {
				if site == "OnOpen" && arrival != "whole" {
					continue // no message comes so far
				}
				t.Run(site+"/"+how+"/"+arrival, func(t *testing.T) {
					cfg, log := oneLoop(), new(recorder)
					cfg.Logger = slog.New(log)
					ep := endpoint(row.crash)
					ep.Inline = true
					s := enginetest.Start(t, cfg, ep)
					gate := newLoopGate(s)
					others := make([]*bystander, 20)
					for i := range others {
						others[i] = &bystander{Client: s.Dial(), large: i%7 == 0}
					}
					c := s.DialWith(enginetest.Handshake{Target: "/crash"})
					hold := arrival == "whole" || arrival == "in a batch"
					if hold {
						gate.hold()
					}
					for _, other := range others[:10] {
						other.ask()
					}
					before := act(c)
					for _, other := range others[10:] {
						other.ask()
					}
					if hold {
						gate.release()
					}
					for _, text := range before {
						require.Equal(t, text, c.ReadText())
					}
					goesOn := row.logs == "" && site != "OnClose"
					if goesOn {
						requireCrashEchoed(c)
						c.Hangup()
					} else {
						code, _ := c.ReadClose()
						require.Equal(t, frame.CloseInternalError, code)
						c.CloseWrite()
						c.ExpectEOF()
						c.Close()
					}
					for range 2 {
						for _, other := range others {
							other.requireAnswers(t)
							other.ask()
						}
					}
					for _, other := range others {
						other.requireAnswers(t)
						other.Hangup()
					}
					gate.c.Hangup()
					s.AwaitOpen(0)
					crashed := 0
					if row.logs != "" {
						crashed = 1
						stacks := log.containing(row.logs, "stack")
						require.Len(t, stacks, 1)
						require.Contains(t, stacks[0], row.stack)
					}
					require.Len(t, log.containing("", ""), crashed, "log records")
					require.EqualValues(t, crashed, s.Engine.Stats().Panics)
				})
			}
		}
	}
}

// requireCrashEchoed reads to the echo of the message that begins with "crash".
func requireCrashEchoed(c *enginetest.Client) {
	for !bytes.HasPrefix(c.ReadMessage().Data, []byte("crash")) {
	}
}
