// Package retry connects to a broker again and again, and waits meanwhile.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 20 * time.Millisecond
	longestPause = 250 * time.Millisecond // less than what nodes wait for each other after an outage
)

// Run calls connection, which returns when the connection has ended, until ctx is done. It
// tells of each end that was not ctx's, and pauses after it, twice as long each time that
// the connection did not last.
func Run(ctx context.Context, connection func() error, lost func(error)) {
	for pause := firstPause; ; {
		began := time.Now()
		err := connection()
		if ctx.Err() != nil {
			return
		}
		lost(err)
		if time.Since(began) > longestPause {
			pause = firstPause
		}
		Wait(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, longestPause)
	}
}

// Wait returns when d has passed or ctx is done.
func Wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
