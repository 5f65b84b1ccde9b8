package interceptors_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestMaxSize(t *testing.T) {
	limits := interceptors.SizeLimits{Text: 10, Binary: -1, Ping: 5}
	in, n := handled(interceptors.MaxSize(interceptors.MaxSizeConfig{Inbound: limits, Close: true}))
	tooLarge := interceptors.Refusal{Status: 413, Message: "message too large", Close: true}
	for _, c := range []struct {
		op   frame.Opcode
		size int
		want error
	}{
		{frame.Text, 0, nil}, {frame.Text, 10, nil}, {frame.Text, 11, tooLarge},
		{frame.Binary, 0, tooLarge}, {frame.Binary, 1, tooLarge},
		{frame.Ping, 5, nil}, {frame.Ping, 6, tooLarge},
		{frame.Pong, 125, nil}, {frame.Close, 0, nil},
	} {
		before := *n
		err := in(t.Context(), ofType(c.op, c.size))
		if c.want == nil {
			assert.NoError(t, err, "%v of %d", c.op, c.size)
			assert.Equal(t, before+1, *n)
		} else {
			assert.Equal(t, c.want, err, "%v of %d", c.op, c.size)
			assert.Equal(t, before, *n)
		}
	}
	sent := 0
	out := interceptors.NewChain(interceptors.MaxSize(interceptors.MaxSizeConfig{Outbound: limits})).
		Outbound(func(context.Context, interceptors.Outbound) error { sent++; return nil })
	require.NoError(t, out(t.Context(), interceptors.Outbound{Type: frame.Text, Data: make([]byte, 10)}))
	require.NoError(t, out(t.Context(), interceptors.Outbound{Type: frame.Close}))
	require.Equal(t, interceptors.Refuse(413, "the answer is too large: 11 bytes"), out(t.Context(), interceptors.Outbound{Type: frame.Text, Data: make([]byte, 11)}))
	require.Error(t, out(t.Context(), interceptors.Outbound{Type: frame.Binary}))
	require.Equal(t, 2, sent)
}
