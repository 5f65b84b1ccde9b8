package engine_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// wrapping is a listener whose connections do not show that they are TCP.
type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// What a loop cannot wait for is served by goroutines nevertheless. The log says so once
// for each engine that has loops, however many connections there are, and not for others.
func TestLoopFallback(t *testing.T) {
	const said = "has a reader goroutine instead of a place on an event loop"
	serve := map[string]func(t *testing.T, cfg engine.Config, use func(addr string) error){
		"TCP": func(t *testing.T, cfg engine.Config, use func(string) error) {
			require.NoError(t, use(enginetest.Start(t, cfg, onMessage(echo)).Addr()))
		},
		"not TCP": func(t *testing.T, cfg engine.Config, use func(string) error) {
			ctx, cancel := context.WithCancel(t.Context())
			ln := wrapping{listen(t)}
			_, served := serveOn(t, ctx, ln, cfg, onMessage(echo))
			require.NoError(t, use(ln.Addr().String()))
			cancel()
			require.NoError(t, <-served)
		},
		"TLS": func(t *testing.T, cfg engine.Config, _ func(string) error) {
			s := enginetest.StartTLS(t, cfg, onMessage(echo))
			for range 3 {
				c := s.Dial()
				c.Send(confBinary, pattern(200_000))
				requireSame(t, pattern(200_000), c.ReadMessage().Data)
				c.Hangup()
			}
		},
	}
	for name, row := range map[string]struct {
		how    string
		io     engine.IO
		reason []string
	}{
		"TCP":                 {"TCP", engine.IOLoops, nil},
		"TLS":                 {"TLS", engine.IOLoops, []string{"the connection is under TLS"}},
		"not TCP":             {"not TCP", engine.IOLoops, []string{"the connection is not TCP"}},
		"TCP, goroutines":     {"TCP", engine.IOGoroutines, nil},
		"TLS, goroutines":     {"TLS", engine.IOGoroutines, nil},
		"not TCP, goroutines": {"not TCP", engine.IOGoroutines, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // engines
				log := new(recorder)
				serve[row.how](t, engine.Config{IO: row.io, Logger: slog.New(log)}, func(addr string) error {
					for range 3 {
						stream, echoes, pings, _ := splitTalk(200_000)
						if err := talk(addr, "/", [][]byte{stream}, false, echoes, pings); err != nil {
							return err
						}
					}
					return nil
				})
				require.Equal(t, row.reason, log.containing(said, "reason"))
				require.Len(t, log.containing("", ""), len(row.reason))
			}
		})
	}
}
