package page

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A view is the live view's server side: an engine of its own, so that who watches is
// neither counted among those who are watched, nor hears their broadcasts, nor takes a
// place from them, and can still watch when there is none left
// (docs/decisions/0022-page.md).
type view struct {
	http.Handler
	engine *engine.Engine
	source Source
	start  time.Time

	mu   sync.Mutex
	beat time.Duration // of what is in text
	text []byte        // the last sample
}

const (
	// interval is what lies between two samples. One visits every connection.
	interval = time.Second

	mostViewers = 64
	mostSample  = 16 << 10

	subprotocol = "penstock.live"
)

func newView(source Source, cfg Config, admit func(*http.Request) error) (*view, error) {
	v := &view{source: source, start: time.Now(), beat: -1}
	e, err := engine.New(engine.Config{
		MaxMessageBytes:   mostSample,
		HighWaterBytes:    4 * mostSample,
		MaxConnections:    mostViewers,
		MemoryBudgetBytes: 8 << 20,
		Workers:           1,
		CloseTimeout:      time.Second,
		TrustedProxies:    cfg.TrustedProxies,
		Logger:            cfg.Logger,
	}, engine.Endpoint{
		Subprotocols: []string{subprotocol},
		Handler: engine.Handler{
			Admit: admit,
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				return c.Go(func(ctx context.Context) { v.show(ctx, c) })
			},
			OnMessage: refuseMessage,
		},
	})
	v.Handler, v.engine = e, e
	return v, err
}

func refuseMessage(context.Context, *engine.Conn, engine.Message) error {
	return &engine.CloseError{Code: frame.ClosePolicyViolation, Reason: "the live view takes no messages"}
}

// show sends a sample at each beat until the viewer has gone. For one that is slow only
// the latest waits.
func (v *view) show(ctx context.Context, c *engine.Conn) {
	for {
		text, next := v.sample(time.Since(v.start))
		if err := c.SendWith(engine.SendOptions{Key: "sample"}, frame.Text, text); errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(v.start.Add(next))):
		}
	}
}

// sample returns the sample of the beat that now belongs to, and when to ask for another.
// All viewers of a beat get the same: the engine is asked once.
func (v *view) sample(now time.Duration) (text []byte, next time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	beat := now / interval
	if beat != v.beat {
		s := v.source.Stats()
		v.beat = beat
		v.text, _ = json.Marshal(newSample(now, &s)) // numbers cannot fail
	}
	next = (beat + 1) * interval
	if next-now < interval/2 { // a rate over less would jump
		next += interval
	}
	return v.text, next
}
