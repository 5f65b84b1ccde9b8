package main

import (
	"slices"
	"testing"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// The median of the rounds' ratios decides, not the ratio of the medians.
func TestRowPast(t *testing.T) {
	r := row{
		limits: []float64{1.05},
		ours:   series{server: []float64{100, 220, 104}},
		theirs: series{server: []float64{100, 200, 100}},
	}
	if r.past() {
		t.Errorf("ratios %v are past 1.05", r.ratios())
	}
	r.ours.server[0] = 106
	if !r.past() {
		t.Errorf("ratios %v are not past 1.05", r.ratios())
	}
	r.limits = nil
	if r.past() {
		t.Error("a rival without a limit is past it")
	}
}

// A limit holds for the rival that it names; the one against the best for the
// one with the least median, whatever single runs say. Of two the stricter counts.
func TestRowLimits(t *testing.T) {
	m := newMatch(work{rivals: []rival{{name: "a"}, {name: "b"}, {name: "c"}}, limits: map[string]float64{"a": 2, best: 0.5}})
	m.ours.server = []float64{60, 60, 60}
	m.theirs[0].server = []float64{50, 200, 200}
	m.theirs[1].server = []float64{100, 100, 100}
	m.theirs[2].server = []float64{150, 150, 150}
	check := func(want map[string]float64) {
		t.Helper()
		for _, r := range m.rows() {
			limit, ok := r.limit()
			if wanted, has := want[r.rival]; ok != has || limit != wanted {
				t.Errorf("limit for %s is %v, %v; want %v, %v", r.rival, limit, ok, wanted, has)
			}
		}
	}
	check(map[string]float64{"a": 2, "b": 0.5})
	if !m.rows()[1].past() {
		t.Error("0.6 is not past 0.5")
	}
	m.theirs[0].server = []float64{50, 50, 200}
	check(map[string]float64{"a": 0.5})
}

// A fan-out is counted by delivery, an echo by message.
func TestSeriesUnit(t *testing.T) {
	message, delivery := 5000.0, 5.0
	var s series
	r := &bench.Result{ServerCPU: &message, ClientCPU: &message}
	if err := s.add(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.Deliveries, r.ServerCPUPerDelivery, r.ClientCPUPerDelivery = 1, &delivery, &delivery
	if err := s.add(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if s.server[0] != message || s.server[1] != delivery {
		t.Errorf("server CPU %v", s.server)
	}
	if s.add(t.Context(), &bench.Result{}) == nil {
		t.Error("a run without CPU times is taken")
	}
	r.Errors, r.Failures = 1, []bench.Failures{{Count: 1}}
	if s.add(t.Context(), r) == nil {
		t.Error("a run with failures is taken")
	}
}

// -work chooses by any part of the name; every limit is that of a rival that runs,
// and every peer is in the roster with the mode that it is to run in.
func TestWorks(t *testing.T) {
	if n := len(chosen("")); n != len(works) {
		t.Errorf("%d of %d works", n, len(works))
	}
	if n := len(chosen("fan-out")); n != 2 {
		t.Errorf("%d works of fan-out", n)
	}
	if n := len(chosen("no such")); n != 0 {
		t.Errorf("%d works that do not exist", n)
	}
	if _, err := roster.Named(needed(works)...); err != nil {
		t.Error(err)
	}
	for _, w := range works {
		known := map[string]bool{best: true}
		for _, r := range w.rivals {
			known[r.name] = true
			if p, err := roster.Named(r.peer); err == nil && !slices.Contains(p[0].Modes, r.mode) {
				t.Errorf("%s: %s has no mode %s", w.name, r.peer, r.mode)
			}
		}
		for name := range w.limits {
			if !known[name] {
				t.Errorf("%s: limit for %s, which does not run", w.name, name)
			}
		}
	}
}
