package interceptors_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A fakeConn is what an engine's connection is to an interceptor.
type fakeConn struct {
	context.Context
	mu     sync.Mutex
	values map[any]any
	sent   []string
}

func newConn(t *testing.T) *fakeConn { return &fakeConn{Context: t.Context(), values: map[any]any{}} }

func (c *fakeConn) Value(key any) any {
	switch key.(type) {
	case interceptors.StoreKey, interceptors.SenderKey:
		return c
	}
	return c.Context.Value(key)
}

func (c *fakeConn) Get(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

func (c *fakeConn) Set(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[key] = value
}

func (c *fakeConn) Send(op frame.Opcode, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, op.String()+" "+string(p))
	return nil
}

func userConn(t *testing.T, user string) *fakeConn {
	c := newConn(t)
	interceptors.SetUser(c, user)
	return c
}

// handled composes list with a handler that counts, and returns the count.
func handled(list ...interceptors.Interceptor) (interceptors.InboundFunc, *int) {
	n := new(int)
	return interceptors.NewChain(list...).Inbound(func(context.Context, interceptors.Inbound) error { *n++; return nil }), n
}

// request is a handshake whose context belongs to c.
func request(c *fakeConn, target string, header http.Header) *http.Request {
	r := httptest.NewRequestWithContext(c, http.MethodGet, target, nil)
	r.Header = header
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return r
}

func ofType(op frame.Opcode, size int) interceptors.Inbound {
	return interceptors.Inbound{Type: op, Final: true, Data: make([]byte, size)}
}

func virtual(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// A message that a stock interceptor lets pass costs no allocation, but for Timeout's
// context.
func TestStockAllocatesNothing(t *testing.T) {
	in := text(`{"id": "7", "list": [1, 2, "three"]}`)
	many := interceptors.DedupConfig{ID: func() func(interceptors.Inbound) string {
		names := make([]string, 1000)
		for i := range names {
			names[i] = string(rune('a'+i%26)) + string(rune('A'+i/26))
		}
		n := 0
		return func(interceptors.Inbound) string { n++; return names[n%len(names)] }
	}()}
	perUser := many
	perUser.PerUser = true
	for name, c := range map[string]struct {
		i    interceptors.Interceptor
		want float64
	}{
		"Logging, not drawn":       {interceptors.Logging(interceptors.LoggingConfig{Sample: 1 << 30}), 0},
		"RateLimit by connection":  {interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 1 << 30}), 0},
		"RateLimit by user":        {interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 1 << 30, Key: interceptors.ByUser}), 0},
		"Timeout":                  {interceptors.Timeout(interceptors.TimeoutConfig{}), 1},
		"MaxSize":                  {interceptors.MaxSize(interceptors.MaxSizeConfig{Inbound: interceptors.SizeLimits{Text: 1000}}), 0},
		"JSONCheck":                {interceptors.JSONCheck(interceptors.JSONCheckConfig{Object: true}), 0},
		"Heartbeat":                {interceptors.Heartbeat(interceptors.HeartbeatConfig{}), 0},
		"Dedup":                    {interceptors.Dedup(many), 0},
		"Dedup by user":            {interceptors.Dedup(perUser), 0},
		"Dedup, no id":             {interceptors.Dedup(interceptors.DedupConfig{ID: func(interceptors.Inbound) string { return "" }}), 0},
		"TokenAuth":                {interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"t": "u"}}), 0},
		"MaxSize of another type":  {interceptors.MaxSize(interceptors.MaxSizeConfig{Inbound: interceptors.SizeLimits{Binary: 1}}), 0},
		"Only the other direction": {interceptors.Only(interceptors.Outbounds, interceptors.Timeout(interceptors.TimeoutConfig{})), 0},
	} {
		t.Run(name, func(t *testing.T) {
			run := interceptors.NewChain(c.i).Inbound(endInbound)
			var ctx interceptors.Context
			conn := userConn(t, "ann")
			one := func() {
				ctx.Reset(conn, 1, 1)
				if err := run(&ctx, in); err != nil {
					t.Error(err)
				}
			}
			for range 2000 {
				one()
			}
			assert.LessOrEqual(t, testing.AllocsPerRun(1000, one), c.want)
		})
	}
}

// Each says what it sees, so that the rest passes it by and broadcasts stay shared.
func TestStockKinds(t *testing.T) {
	users := map[string]string{"t": "u"}
	id := func(interceptors.Inbound) string { return "" }
	for name, c := range map[string]struct {
		i    interceptors.Interceptor
		want interceptors.Kinds
	}{
		"TokenAuth": {interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: users}), 0},
		"RateLimit": {interceptors.RateLimit(interceptors.RateLimitConfig{}), interceptors.InboundData},
		"Timeout":   {interceptors.Timeout(interceptors.TimeoutConfig{}), interceptors.InboundData},
		"JSONCheck": {interceptors.JSONCheck(interceptors.JSONCheckConfig{}), interceptors.InboundText},
		"Heartbeat": {interceptors.Heartbeat(interceptors.HeartbeatConfig{}), interceptors.InboundText},
		"Dedup":     {interceptors.Dedup(interceptors.DedupConfig{ID: id}), interceptors.InboundData},
		"MaxSize":   {interceptors.MaxSize(interceptors.MaxSizeConfig{}), 0},
		"MaxSize of two": {interceptors.MaxSize(interceptors.MaxSizeConfig{
			Inbound: interceptors.SizeLimits{Binary: -1, Ping: 1}, Outbound: interceptors.SizeLimits{Text: 1, Pong: 1},
		}), interceptors.InboundBinary | interceptors.InboundPing | interceptors.OutboundText | interceptors.OutboundPong},
		"Logging": {interceptors.Logging(interceptors.LoggingConfig{}), interceptors.Inbounds | interceptors.Outbounds},
		"Dump":    {interceptors.Dump(interceptors.DumpConfig{}), interceptors.Inbounds | interceptors.Outbounds},
	} {
		assert.Equal(t, c.want, interceptors.NewChain(c.i).Kinds(), name)
	}
}
