package interceptors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

type captured struct {
	level   slog.Level
	message string
	attrs   map[string]any
}

// capture is a slog handler that keeps records at its level and above.
type capture struct {
	level slog.Level
	mu    sync.Mutex
	list  []captured
}

func (c *capture) Enabled(_ context.Context, level slog.Level) bool { return level >= c.level }
func (c *capture) WithAttrs([]slog.Attr) slog.Handler               { panic("not used") }
func (c *capture) WithGroup(string) slog.Handler                    { panic("not used") }

func (c *capture) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]any{}
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.Any(); return true })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, captured{level: r.Level, message: r.Message, attrs: attrs})
	return nil
}

func TestLoggingRecords(t *testing.T) {
	refuse := interceptors.Refuse(429, "too often")
	for name, c := range map[string]struct {
		in   interceptors.Inbound
		err  error
		want map[string]any
	}{
		"text": {text("hello"), nil, map[string]any{"type": "text", "size": int64(5)}},
		"binary, failed": {interceptors.Inbound{Type: frame.Binary}, errors.New("disk full"),
			map[string]any{"type": "binary", "size": int64(0), "error": "disk full"}},
		"refused": {text("x"), fmt.Errorf("limit: %w", refuse),
			map[string]any{"type": "text", "size": int64(1), "status": int64(429), "error": "limit: " + refuse.Error()}},
		"ping": {interceptors.Inbound{Type: frame.Ping, Data: []byte("abc")}, nil, map[string]any{"type": "ping", "size": int64(3)}},
		"pong": {interceptors.Inbound{Type: frame.Pong}, nil, map[string]any{"type": "pong", "size": int64(0)}},
		"close": {interceptors.Inbound{Type: frame.Close, CloseCode: frame.CloseGoingAway, CloseReason: "bye"}, nil,
			map[string]any{"type": "close", "size": int64(0), "close_code": int64(1001)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := capture{level: slog.LevelDebug}
				chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records), Level: slog.LevelDebug}))
				var run interceptors.Context
				run.Reset(t.Context(), 9, 1)
				in := chain.Inbound(func(context.Context, interceptors.Inbound) error { time.Sleep(time.Second); return c.err })
				out := chain.Outbound(func(context.Context, interceptors.Outbound) error { time.Sleep(time.Second); return c.err })

				assert.Equal(t, c.err, in(&run, c.in))
				assert.Equal(t, c.err, out(&run, interceptors.Outbound{
					Type: c.in.Type, Data: c.in.Data, CloseCode: c.in.CloseCode, CloseReason: c.in.CloseReason,
				}))

				require.Len(t, records.list, 2)
				for i, way := range []string{"inbound", "outbound"} {
					c.want["direction"], c.want["duration"], c.want["chain_id"] = way, time.Second, "9-1"
					assert.Equal(t, captured{slog.LevelDebug, "websocket message", c.want}, records.list[i])
				}
			})
		})
	}
}

func TestLoggingNeverTellsWhatWasSaid(t *testing.T) {
	const secret = "s3cret"
	var records capture
	chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records)}))
	in := interceptors.Inbound{Type: frame.Close, Data: []byte(secret), CloseReason: secret}.With("token", secret).With(secret, 1)
	out := interceptors.Outbound{
		Type: frame.Close, Data: []byte(secret), CloseReason: secret,
		Peer: &interceptors.Peer{
			Target: "wss://x.example/?token=" + secret, Header: http.Header{"Authorization": {secret}}, Subprotocols: []string{secret},
		},
	}.With("token", secret)
	var run interceptors.Context
	run.Reset(t.Context(), 1, 1)
	run.Set("token", secret)
	require.NoError(t, chain.Inbound(endInbound)(&run, in))
	require.NoError(t, chain.Outbound(endOutbound)(&run, out))

	require.Len(t, records.list, 2)
	for _, record := range records.list {
		assert.NotContains(t, fmt.Sprint(record), secret)
		assert.NotContains(t, fmt.Sprint(record), fmt.Sprint([]byte(secret)))
	}
}

func TestLoggingWithoutContextLeavesTheIDOut(t *testing.T) {
	var records capture
	chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records)}))
	require.NoError(t, chain.Inbound(endInbound)(t.Context(), text("")))
	require.Len(t, records.list, 1)
	assert.NotContains(t, records.list[0].attrs, "chain_id")
}

func TestLoggingDisabledStillContinues(t *testing.T) {
	records := capture{level: slog.LevelWarn}
	want := errors.New("outcome")
	chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records)}))
	assert.Equal(t, want, chain.Inbound(func(context.Context, interceptors.Inbound) error { return want })(t.Context(), text("")))
	assert.Equal(t, want, chain.Outbound(func(context.Context, interceptors.Outbound) error { return want })(t.Context(), interceptors.Outbound{}))
	assert.Empty(t, records.list)
}

func TestLoggingBeforeRecoverTellsOfAPanic(t *testing.T) {
	var records, panics capture
	chain := interceptors.NewChain(
		interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records)}),
		interceptors.Recover(slog.New(&panics)),
	)
	err := chain.Inbound(func(context.Context, interceptors.Inbound) error { panic("boom") })(t.Context(), text(""))
	require.Error(t, err)
	require.Len(t, panics.list, 1)
	require.Len(t, records.list, 1)
	assert.Equal(t, err.Error(), records.list[0].attrs["error"])
}

func TestLoggingZeroConfigUsesTheDefaultLogger(t *testing.T) {
	var records capture
	before := slog.Default()
	slog.SetDefault(slog.New(&records))
	defer slog.SetDefault(before)
	chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{}), interceptors.Recover(nil))
	require.Error(t, chain.Inbound(func(context.Context, interceptors.Inbound) error { panic("boom") })(t.Context(), text("")))
	require.Len(t, records.list, 2)
	assert.Equal(t, slog.LevelError, records.list[0].level)
	assert.Equal(t, slog.LevelInfo, records.list[1].level)
}

func TestLoggingSample(t *testing.T) {
	const messages = 10_000
	var records capture
	failed := errors.New("failed")
	chain := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(&records), Sample: 10}))
	outcome := error(nil)
	in := chain.Inbound(func(context.Context, interceptors.Inbound) error { return outcome })
	out := chain.Outbound(func(context.Context, interceptors.Outbound) error { return outcome })
	for range messages / 2 {
		require.NoError(t, in(t.Context(), text("m")))
		require.NoError(t, out(t.Context(), interceptors.Outbound{Type: frame.Text}))
	}
	assert.InDelta(t, messages/10, len(records.list), 300, "ten standard deviations")

	for _, outcome = range []error{failed, interceptors.Refuse(403, "no")} {
		records.list = nil
		for range 100 {
			require.Error(t, in(t.Context(), text("m")))
			require.Error(t, out(t.Context(), interceptors.Outbound{Type: frame.Text}))
		}
		assert.Len(t, records.list, 200, "errors and refusals are always logged")
	}
	assert.Contains(t, panicOf(t, func() { interceptors.Logging(interceptors.LoggingConfig{Sample: -1}) }), "LoggingConfig.Sample is -1")
}
