package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"
)

// Storm is the scenario of clients that come and go: each connects, shakes hands,
// gets one message echoed and says goodbye, and then the next one comes.
//
// It is a closed loop of Clients at a time. Latency counts from the beginning of the
// connecting to the end of the handshake.
//
// The zero value is the default of each field.
type Storm struct {
	// Clients is how many connect at the same time. 0: 32. At most MaxConnections.
	Clients int

	// PayloadBytes is the size of the message. 0: 128. At most MaxPayload.
	PayloadBytes int

	// Warmup and Duration are as in Echo. A connection that is open when the time is
	// up is completed.
	Warmup, Duration time.Duration
}

// Run carries out the scenario; see Echo.Run. Messages in the Result are connections
// that have gone the whole way; after one that has not the next one comes, too.
func (st Storm) Run(ctx context.Context, t Target, watch func(Progress)) (*Result, error) {
	if err := st.Validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(t.URL)
	if err != nil {
		return nil, err
	}
	st = st.withDefaults()
	g := Group{Connections: st.Clients, InFlight: 1, PayloadBytes: st.PayloadBytes}
	s := newSession("storm", plan{groups: []Group{g}, timing: timing{warmup: st.Warmup, duration: st.Duration, settle: handshakeTimeout}}, t)
	s.storm = address
	s.told = map[string]any{"clients": st.Clients, "payload": st.PayloadBytes}
	s.conduct(ctx, nil, watch)
	r := s.result(ctx.Err() != nil)
	r.Name = fmt.Sprintf("storm: %d clients at a time, one message of %d bytes each", st.Clients, st.PayloadBytes)
	return r, nil
}

// Validate returns every mistake in st, joined; each is a *ConfigError.
func (st Storm) Validate() error {
	st = st.withDefaults()
	return errors.Join(
		inRange("Clients", st.Clients, 1, MaxConnections),
		inRange("PayloadBytes", st.PayloadBytes, 1, MaxPayload),
		inRange("Warmup", st.Warmup, 0, MaxDuration),
		inRange("Duration", st.Duration, time.Millisecond, MaxDuration),
	)
}

func (st Storm) withDefaults() Storm {
	setDefault(&st.Clients, 32)
	setDefault(&st.PayloadBytes, 128)
	setDefault(&st.Duration, 5*time.Second)
	return st
}

// stormPause keeps clients that fail at once from being a load of their own.
const stormPause = 10 * time.Millisecond

// visitors are the clients of a Storm, each to be run by a goroutine.
func (s *session) visitors(ctx context.Context, address *url.URL) []func() {
	s.driver = driverGoroutines
	carry := make([]func(), s.plan.groups[0].Connections)
	rec := s.recorder() // guarded by mu
	var mu sync.Mutex
	for i := range carry {
		carry[i] = func() { // until the window's end, or ctx is done
			for s.phase.Load() == phaseRun && ctx.Err() == nil {
				latency, fail := s.once(ctx, address)
				if fail != nil {
					if ctx.Err() == nil {
						s.failures.add(i, fail)
						pause(ctx, stormPause)
					}
					continue // the next one comes: fewer clients would be another load
				}
				mu.Lock()
				rec.at(s.now())
				rec.reply(0, latency)
				rec.complete(0)
				rec.publish()
				mu.Unlock()
			}
		}
	}
	return carry
}

// once is the life of one client.
func (s *session) once(ctx context.Context, address *url.URL) (latency int64, fail *failure) {
	began := s.now()
	d, err := dialer{address: address}.dial(ctx, 0)
	if err != nil {
		return 0, failf(FailureNetwork, "%v", err)
	}
	defer d.conn.Close()
	latency = s.now() - began
	_ = d.conn.SetDeadline(time.Now().Add(handshakeTimeout))
	stop := context.AfterFunc(ctx, func() { _ = d.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	f := newFlow(newSource(s.plan.groups[0], 1, s.patterns[0]), true, s.rules[0])
	f.refill(0)
	quiet := newRecorder(newWindow(), time.Hour, 0) // of no group: a histogram for each client would cost more than it
	f.over, f.stage = true, stageDraining
	return latency, f.exchange(d, quiet, func() bool { return f.stage == stageClosed })
}

// exchange sends one message, and a close frame if the flow is draining, and reads
// until that is over.
func (f *flow) exchange(d *dialed, rec *recorder, over func() bool) *failure {
	if fail := f.input(d.early, 0, rec); fail != nil {
		return fail
	}
	buf := make([]byte, 4<<10)
	for !over() {
		for a, b := f.pending(); len(a) > 0; a, b = f.pending() {
			n, err := d.conn.Write(append(a[:len(a):len(a)], b...))
			f.wrote(n)
			if err != nil {
				return f.ended(err)
			}
		}
		n, err := d.conn.Read(buf)
		if fail := f.input(buf[:n], 0, rec); fail != nil {
			return fail
		}
		switch {
		case over():
		case errors.Is(err, io.EOF):
			return f.ended(nil)
		case err != nil:
			return f.ended(err)
		}
	}
	return nil
}
