package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// refusing refuses text messages; whatever else passes.
func refusing(r interceptors.Refusal) interceptors.Interceptor {
	return inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
		if in.Type == frame.Text {
			return r
		}
		return next.Run(ctx, in)
	})
}

// A refusal that closes is answered first; the reason is as much of the message as a
// close frame has room for, and never half a rune.
func TestA3RefusalThatCloses(t *testing.T) {
	for name, c := range map[string]struct{ message, answer, reason string }{
		"short":     {"too often", `"too often"`, "too often"},
		"empty":     {"", `""`, ""},
		"just fits": {strings.Repeat("x", 123), `"` + strings.Repeat("x", 123) + `"`, strings.Repeat("x", 123)},
		"too long":  {strings.Repeat("x", 124), `"` + strings.Repeat("x", 124) + `"`, strings.Repeat("x", 123)},
		"runes":     {strings.Repeat("é", 100), `"` + strings.Repeat("é", 100) + `"`, strings.Repeat("é", 61)},
		"not UTF-8": {"a\xffb", `"a\ufffdb"`, "a\ufffdb"},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ended := make(chan *engine.CloseError, 1)
				ep := with(engine.Handler{OnMessage: echo, OnClose: func(_ *engine.Conn, err *engine.CloseError) { ended <- err }},
					refusing(interceptors.Refusal{Status: 429, Message: c.message, Close: true}))
				ep.Inline = inline
				s := enginetest.Start(t, engine.Config{}, ep)
				client := s.Dial()
				client.SendText("m")
				client.SendText("the end has begun: this is not answered")
				require.JSONEq(t, `{"type":"error","status":429,"message":`+c.answer+`}`, client.ReadText())
				code, reason := client.ReadClose()
				require.Equal(t, frame.ClosePolicyViolation, code)
				require.Equal(t, c.reason, reason)
				client.SendClose(code, "")
				client.ExpectEOF()
				client.Close()
				err := <-ended
				require.Equal(t, engine.CauseRefused, err.Cause)
				require.Equal(t, frame.ClosePolicyViolation, err.Code)
				require.Equal(t, c.reason, err.Reason)
				require.Equal(t, "refused", err.Cause.String())
			})
		})
	}
}

// retry_after is in whole seconds, rounded up, and left out if there is none.
func TestA3RetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", 1: `,"retry_after":1`, time.Second: `,"retry_after":1`, time.Second + 1: `,"retry_after":2`, time.Hour: `,"retry_after":3600`,
	} {
		s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo}, refusing(interceptors.Refusal{Status: 429, Message: "later", RetryAfter: d})))
		c := s.Dial()
		c.SendText("m")
		require.Equal(t, `{"type":"error","status":429,"message":"later"`+want+`}`, c.ReadText())
		c.Hangup()
	}
}
