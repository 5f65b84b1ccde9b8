package interceptors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/interceptors"
)

// under runs f as the handler behind a Timeout.
func under(t *testing.T, config interceptors.TimeoutConfig, f func(ctx context.Context) error) error {
	return interceptors.NewChain(interceptors.Timeout(config)).
		Inbound(func(ctx context.Context, _ interceptors.Inbound) error { return f(ctx) })(newConn(t), text("m"))
}

func TestTimeoutRefusesWhatTookTooLong(t *testing.T) {
	virtual(t, func(t *testing.T) {
		start := time.Now()
		err := under(t, interceptors.TimeoutConfig{}, func(ctx context.Context) error {
			at, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, start.Add(10*time.Second), at)
			<-ctx.Done()
			return fmt.Errorf("query: %w", ctx.Err())
		})
		assert.Equal(t, interceptors.Refuse(503, "took too long"), err)
		assert.Equal(t, 10*time.Second, time.Since(start))

		err = under(t, interceptors.TimeoutConfig{Limit: time.Second, Message: "busy", Close: true}, func(ctx context.Context) error {
			time.Sleep(time.Second) // looks at the clock, without Done
			return ctx.Err()
		})
		assert.Equal(t, interceptors.Refusal{Status: 503, Message: "busy", Close: true}, err)
	})
}

func TestTimeoutLeavesOtherOutcomesAlone(t *testing.T) {
	virtual(t, func(t *testing.T) {
		failed := errors.New("failed")
		config := interceptors.TimeoutConfig{Limit: time.Second}
		assert.NoError(t, under(t, config, func(ctx context.Context) error { return ctx.Err() }))
		assert.Equal(t, failed, under(t, config, func(context.Context) error { return failed }))
		assert.NoError(t, under(t, config, func(context.Context) error { time.Sleep(time.Minute); return nil }), "it was handled, if late")
		assert.Equal(t, failed, under(t, config, func(context.Context) error { time.Sleep(time.Minute); return failed }))
		assert.Equal(t, context.DeadlineExceeded, under(t, config, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond) // the handler's own
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}))
	})
}

// The context does what one of context.WithTimeout does.
func TestTimeoutContext(t *testing.T) {
	virtual(t, func(t *testing.T) {
		type key struct{}
		parent, cancel := context.WithCancel(context.WithValue(newConn(t), key{}, "v"))
		defer cancel()
		earlier, stop := context.WithTimeout(parent, time.Second)
		defer stop()
		var kept, asked, derived context.Context
		in := interceptors.NewChain(interceptors.Timeout(interceptors.TimeoutConfig{Limit: time.Minute})).
			Inbound(func(ctx context.Context, in interceptors.Inbound) error {
				assert.Equal(t, "v", ctx.Value(key{}))
				assert.NoError(t, ctx.Err())
				switch string(in.Data) {
				case "keep":
					kept = ctx
				case "ask":
					asked = ctx
					derived, stop = context.WithCancel(ctx)
					assert.NotNil(t, ctx.Done())
					assert.Equal(t, ctx.Done(), ctx.Done())
					assert.Equal(t, "v", ctx.Value(key{}))
				case "earlier":
					at, _ := ctx.Deadline()
					assert.Equal(t, time.Now().Add(time.Second), at)
				case "parent ends":
					cancel()
					assert.Equal(t, context.Canceled, ctx.Err())
					<-ctx.Done()
				}
				return nil
			})
		require.NoError(t, in(parent, text("keep")))
		require.NoError(t, in(parent, text("ask")))
		require.NoError(t, in(earlier, text("earlier")))
		synctest.Wait()                                                // for the goroutine that may have to tell derived
		for _, left := range []context.Context{kept, asked, derived} { // whoever was left behind learns that it is over
			select {
			case <-left.Done():
			default:
				t.Error("it is not over yet")
			}
			assert.Equal(t, context.Canceled, left.Err())
		}
		time.Sleep(time.Hour)
		assert.Equal(t, context.Canceled, kept.Err(), "an error does not change")
		require.NoError(t, in(parent, text("parent ends")))
	})
}

// The engine's contexts have no Done channel until somebody asks for it: Timeout does not
// ask.
func TestTimeoutDoesNotAskForDone(t *testing.T) {
	parent := doneCounter{Context: newConn(t)}
	in := interceptors.NewChain(interceptors.Timeout(interceptors.TimeoutConfig{})).
		Inbound(func(ctx context.Context, _ interceptors.Inbound) error { return ctx.Err() })
	require.NoError(t, in(&parent, text("m")))
	assert.Zero(t, parent.asked)
}

type doneCounter struct {
	context.Context
	asked int
}

func (c *doneCounter) Done() <-chan struct{} { c.asked++; return c.Context.Done() }

func TestTimeoutMistake(t *testing.T) {
	assert.Contains(t, panicOf(t, func() { interceptors.Timeout(interceptors.TimeoutConfig{Limit: -1}) }), "TimeoutConfig.Limit is -1ns")
}
