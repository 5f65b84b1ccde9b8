package reconnect_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/reconnect"
)

var errDown = errors.New("the server is down")

// attempts notes when attempts are made.
type attempts struct {
	mu sync.Mutex
	at []time.Time
}

func (a *attempts) note() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return len(a.at)
}

// waits returns the times between them.
func (a *attempts) waits() (list []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(a.at); i++ {
		list = append(list, a.at[i].Sub(a.at[i-1]))
	}
	return list
}

// virtually runs a client in virtual time, whose n-th connection is served by serve, or
// fails with its error, until there have been so many.
func virtually(t *testing.T, n int, cfg reconnect.Config, serve func(n int, conn net.Conn) error) *attempts {
	a := new(attempts)
	synctest.Test(t, func(t *testing.T) {
		full := make(chan struct{})
		cfg.Target = "ws://server/"
		cfg.Dial.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
		cfg.Dial.NetDial = func(context.Context, string, string) (net.Conn, error) {
			i := a.note()
			if i == n {
				close(full)
			}
			if i >= n {
				return nil, errDown
			}
			ours, theirs := net.Pipe()
			if err := serve(i, theirs); err != nil {
				return nil, err
			}
			return ours, nil
		}
		c, err := reconnect.New(cfg)
		require.NoError(t, err)
		c.Start()
		<-full
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// respond answers a handshake.
func respond(conn net.Conn, response func(key string) string) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, _ = conn.Write([]byte(response(r.Header.Get("Sec-WebSocket-Key"))))
	}
}

func accepting(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
}

// lasting serves a connection for so long and hangs up.
func lasting(d time.Duration) func(int, net.Conn) error {
	return func(_ int, conn net.Conn) error {
		go func() {
			respond(conn, accepting)
			time.AfterFunc(d, func() { _ = conn.Close() })
			_, _ = io.Copy(io.Discard, conn)
		}()
		return nil
	}
}

func down(int, net.Conn) error { return errDown }

// bounds returns the longest waits: they double up to most.
func bounds(n int, least, most time.Duration) (list []time.Duration) {
	for d := least; len(list) < n; d = min(2*d, most) {
		list = append(list, d)
	}
	return list
}

// requireWaits holds the waits of many runs against their bounds: none is longer, and
// they are spread over the whole of it.
func requireWaits(t *testing.T, runs [][]time.Duration, bounds []time.Duration) {
	t.Helper()
	for i, most := range bounds {
		sum, longest := time.Duration(0), time.Duration(0)
		for _, waits := range runs {
			require.LessOrEqual(t, waits[i], most, "wait %d", i)
			sum += waits[i]
			longest = max(longest, waits[i])
		}
		mean := float64(sum) / float64(len(runs)) / float64(most)
		require.InDelta(t, 0.5, mean, 0.15, "mean of wait %d as a part of its bound", i)
		require.Greater(t, longest, most*8/10, "wait %d", i)
	}
}

const virtualRuns = 100 // by which a mean of 0.5 has a standard deviation of 0.03

func TestWaitsDouble(t *testing.T) {
	var runs [][]time.Duration
	for range virtualRuns {
		runs = append(runs, virtually(t, 10, reconnect.Config{}, down).waits())
	}
	requireWaits(t, runs, bounds(9, 500*time.Millisecond, 30*time.Second))
}

// A server that accepts and drops is left alone for longer and longer, too.
func TestWaitsDoubleIfDropped(t *testing.T) {
	var runs [][]time.Duration
	for range virtualRuns {
		a := virtually(t, 8, reconnect.Config{MinWait: time.Second, MaxWait: 20 * time.Second}, lasting(0))
		runs = append(runs, a.waits())
	}
	requireWaits(t, runs, bounds(7, time.Second, 20*time.Second))
}

// One that has lasted for StableAfter begins from the beginning.
func TestWaitsBeginAgain(t *testing.T) {
	for name, row := range map[string]struct {
		lasts, stable time.Duration
		begins        bool
	}{
		"long enough":      {10 * time.Second, 0, true},
		"not long enough":  {9900 * time.Millisecond, 0, false},
		"any will do":      {time.Millisecond, -1, true},
		"longer than that": {time.Minute, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			longest := time.Duration(0)
			for range 20 {
				a := virtually(t, 8, reconnect.Config{MinWait: time.Second, StableAfter: row.stable}, lasting(row.lasts))
				for _, w := range a.waits() {
					longest = max(longest, w-row.lasts)
				}
			}
			if row.begins {
				require.LessOrEqual(t, longest, time.Second)
			} else {
				require.Greater(t, longest, 4*time.Second)
			}
		})
	}
}

// Retry-After is waited for, as far as MaxWait allows, and the random time as well.
func TestRetryAfter(t *testing.T) {
	for name, row := range map[string]struct {
		status       int
		field        func() string
		least, below time.Duration
	}{
		"seconds":  {503, func() string { return "7" }, 7 * time.Second, 8 * time.Second},
		"429":      {429, func() string { return "7" }, 7 * time.Second, 8 * time.Second},
		"date":     {503, func() string { return time.Now().Add(9 * time.Second).UTC().Format(http.TimeFormat) }, 8 * time.Second, 10 * time.Second},
		"too long": {503, func() string { return "86400" }, 20 * time.Second, 21 * time.Second},
		"past":     {503, func() string { return time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0, time.Second},
		"nonsense": {503, func() string { return "-5" }, 0, time.Second},
		"none":     {503, func() string { return "" }, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			first := make(map[time.Duration]bool)
			for range 10 {
				a := virtually(t, 2, reconnect.Config{MinWait: time.Second, MaxWait: 20 * time.Second}, func(_ int, conn net.Conn) error {
					go func() {
						respond(conn, func(string) string {
							return fmt.Sprintf("HTTP/1.1 %d No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", row.status, row.field())
						})
						_ = conn.Close()
					}()
					return nil
				})
				w := a.waits()[0]
				require.GreaterOrEqual(t, w, row.least)
				require.LessOrEqual(t, w, row.below)
				first[w] = true
			}
			require.Greater(t, len(first), 5, "clients that are told the same do not come at the same time")
		})
	}
}

// Close ends a wait, and an attempt, at once.
func TestCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, dial := range []func(context.Context, string, string) (net.Conn, error){
			func(context.Context, string, string) (net.Conn, error) { return nil, errDown },
			func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		} {
			c, err := reconnect.New(reconnect.Config{
				Target: "ws://server/", MinWait: time.Hour, MaxWait: time.Hour,
				Dial: engine.DialConfig{NetDial: dial, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }},
			})
			require.NoError(t, err)
			c.Start()
			synctest.Wait()
			began := time.Now()
			require.NoError(t, c.Close(context.Background()))
			require.Zero(t, time.Since(began))
			require.ErrorIs(t, c.Err(), net.ErrClosed)
			<-c.Done()
		}
	})
}

// An attempt ends with AttemptTimeout.
func TestAttemptTimeout(t *testing.T) {
	a := virtually(t, 2, reconnect.Config{
		AttemptTimeout: 3 * time.Second, MinWait: 1,
		OnConnect: func(ctx context.Context, _ *engine.Conn) error { <-ctx.Done(); return ctx.Err() },
	}, func(_ int, conn net.Conn) error {
		go func() {
			respond(conn, accepting)
			for {
				if _, err := conn.Read(make([]byte, 100)); err != nil {
					return
				}
				_ = conn.Close() // at our close frame
			}
		}()
		return nil
	})
	require.InDelta(t, 3*time.Second, a.waits()[0], float64(time.Second))
}
