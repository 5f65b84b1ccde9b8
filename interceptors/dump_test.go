package interceptors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestDump(t *testing.T) {
	var b bytes.Buffer
	chain := interceptors.NewChain(interceptors.Dump(interceptors.DumpConfig{Writer: &b, MaxBytes: 5}))
	fails := errors.New("line\nbreak")
	in := chain.Inbound(func(_ context.Context, in interceptors.Inbound) error {
		if in.Type == frame.Pong {
			return fails
		}
		return nil
	})
	out := chain.Outbound(endOutbound)
	var run interceptors.Context
	run.Reset(t.Context(), 12, 3)
	require.NoError(t, in(&run, text("h\nllo")))
	require.NoError(t, in(&run, text("hello, world")))
	require.NoError(t, in(t.Context(), interceptors.Inbound{Type: frame.Ping}))
	require.Equal(t, fails, in(&run, interceptors.Inbound{Type: frame.Pong, Data: []byte("p")}))
	require.NoError(t, in(&run, interceptors.Inbound{Type: frame.Close, CloseCode: 1001, CloseReason: "bye\n"}))
	require.NoError(t, out(&run, interceptors.Outbound{Type: frame.Binary, Data: []byte{0, 1, 0xfe, 0xff, 4, 5}}))
	assert.Equal(t, strings.Join([]string{
		`12-3 <- text 5 "h\nllo"`,
		`12-3 <- text 12 "hello"… (7 more)`,
		`- <- ping 0`,
		`12-3 <- pong 1 70`,
		`12-3 <- pong error "line\nbreak"`,
		`12-3 <- close 1001 "bye\n"`,
		`12-3 -> binary 6 0001feff04… (1 more)`,
	}, "\n")+"\n", regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{6} `).ReplaceAllString(b.String(), ""))
}

func TestDumpLimits(t *testing.T) {
	for most, shown := range map[int]int{0: 256, -1: 0, 1000: 300} {
		var b bytes.Buffer
		in := interceptors.NewChain(interceptors.Dump(interceptors.DumpConfig{Writer: &b, MaxBytes: most})).Inbound(endInbound)
		require.NoError(t, in(t.Context(), text(strings.Repeat("z", 300))))
		assert.Equal(t, shown, strings.Count(b.String(), "z"))
	}
}

// Lines are whole; the race detector watches the writer.
func TestDumpConcurrently(t *testing.T) {
	var b bytes.Buffer
	in := interceptors.NewChain(interceptors.Dump(interceptors.DumpConfig{Writer: &b})).Inbound(endInbound)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for range 100 {
				_ = in(t.Context(), text(fmt.Sprint(w)))
			}
		})
	}
	wait.Wait()
	assert.Len(t, regexp.MustCompile(`(?m)^\S+ - <- text 1 "\d"$`).FindAllString(b.String(), -1), 800)
}
