package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Mixed is an echo scenario of several groups of connections at once, such as a few
// that send much and many that send little.
type Mixed struct {
	// Groups are at least one, and at most MaxGroups.
	Groups []Group

	// Beside are peers that behave badly meanwhile. Their own fate is no failure.
	Beside []Hostile

	// Warmup, Duration and Settle are as in Echo.
	Warmup, Duration, Settle time.Duration
}

// MaxGroups bounds the groups of a Mixed: each has a histogram of 250 KB in every loop.
const MaxGroups = 100

// Run carries out the scenario; see Echo.Run. The Result has the figures of each
// group besides those of all.
func (m Mixed) Run(ctx context.Context, t Target, watch func(Progress)) (*Result, error) {
	return m.run(ctx, "mixed", t, watch)
}

func (m Mixed) run(ctx context.Context, name string, t Target, watch func(Progress)) (*Result, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(t.URL)
	if err != nil {
		return nil, err
	}
	m = m.withDefaults()
	s := newSession(name, plan{groups: m.Groups, beside: m.Beside, timing: m.timing()}, t)
	conns, err := dialGroups(ctx, m.Groups, dialer{address: address})
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err == nil {
		s.conduct(ctx, conns, watch)
	}
	return s.result(ctx.Err() != nil), nil
}

// dialGroups opens the connections of all groups, in their order.
func dialGroups(ctx context.Context, groups []Group, how dialer) (all []*dialed, err error) {
	for i, g := range groups {
		how.compress = g.Compress
		conns, err := dialAll(ctx, g.Connections, how)
		if err != nil {
			hangUp(all)
			return nil, err
		}
		for _, d := range conns {
			d.id += len(all)
			d.group = i
		}
		all = slices.Concat(all, conns)
	}
	return all, nil
}

// Validate returns every mistake in m, joined; each is a *ConfigError.
func (m Mixed) Validate() error {
	switch n := len(m.Groups); {
	case n == 0:
		return &ConfigError{"Groups", "empty", "at least one"}
	case n > MaxGroups:
		return &ConfigError{"Groups", n, fmt.Sprintf("at most %d", MaxGroups)}
	}
	m = m.withDefaults()
	mistakes := m.timing().ranges()
	connections, memory := 0, int64(0)
	for i, g := range m.Groups {
		for _, err := range g.ranges() {
			mistakes = append(mistakes, ofGroup(err, i, len(m.Groups)))
		}
		connections += g.Connections
		memory += g.memory(g.Connections)
	}
	for _, h := range m.Beside {
		mistakes = append(mistakes, h.ranges()...)
		connections += h.Count
	}
	if err := errors.Join(mistakes...); err != nil {
		return err
	}
	return errors.Join(inRange("Connections", connections, 1, MaxConnections), inMemory(FieldMemory, memory))
}

// ofGroup says which of several groups a mistake is in.
func ofGroup(err error, i, n int) error {
	var mistake *ConfigError
	if n > 1 && errors.As(err, &mistake) {
		mistake.Field = fmt.Sprintf("Groups[%d].%s", i, mistake.Field)
	}
	return err
}

func (m Mixed) withDefaults() Mixed {
	m.Groups = slices.Clone(m.Groups)
	for i := range m.Groups {
		m.Groups[i] = m.Groups[i].withDefaults()
	}
	m.Beside = slices.Clone(m.Beside)
	for i := range m.Beside {
		m.Beside[i] = m.Beside[i].withDefaults()
	}
	return m
}

func (m Mixed) timing() timing {
	return timing{m.Warmup, m.Duration, m.Settle}.withDefaults()
}

// Compresses reports whether the scenario needs a server that agrees to
// permessage-deflate.
func (m Mixed) Compresses() bool {
	return slices.ContainsFunc(m.Groups, func(g Group) bool { return g.Compress }) ||
		slices.ContainsFunc(m.Beside, func(h Hostile) bool { return h.Kind == HostileBomb })
}
