package main

import "testing"

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

// The median of the pairs' ratios decides, not the ratio of the medians.
func TestRowPast(t *testing.T) {
	r := row{
		work:   work{limits: map[string]float64{"gws": 1.05}},
		rival:  rival{name: "gws"},
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
	r.rival.name = "unlimited"
	if r.past() {
		t.Error("a rival without a limit is past it")
	}
}
