package penstockprometheus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Source is what is shown: an *engine.Engine.
type Source interface{ Stats() engine.Stats }

// CollectorConfig configures [NewCollector]. Its zero value will do.
type CollectorConfig struct {
	// CloseCodes are the codes of the application, from 3000 to 4999, that
	// penstock_closes_total tells apart, at most 100 of them. The others are counted
	// together, as 3xxx and 4xxx: peers choose among two thousand, and each would be a
	// time series. Default: none.
	CloseCodes []frame.CloseCode
}

// mostCloseCodes bounds the time series of penstock_closes_total.
const mostCloseCodes = 100

// NewCollector returns a collector of what source counts. A scrape asks source
// once, which visits every connection. For more engines than one in a registry
// register each with prometheus.WrapRegistererWith and a label of its own. The
// error names every mistake in cfg.
func NewCollector(source Source, cfg CollectorConfig) (prometheus.Collector, error) {
	var errs []error
	if len(cfg.CloseCodes) > mostCloseCodes {
		errs = append(errs, fmt.Errorf("penstockprometheus: %d CloseCodes; at most %d are possible", len(cfg.CloseCodes), mostCloseCodes))
	}
	for _, code := range cfg.CloseCodes {
		if code < firstOwn || code > lastOwn {
			errs = append(errs, fmt.Errorf("penstockprometheus: CloseCodes has %d; allowed are those from %d to %d", code, firstOwn, lastOwn))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &collector{source: source, codes: slices.Clone(cfg.CloseCodes)}, nil
}

// The close codes that RFC 6455 §7.4.2 leaves to libraries and applications.
const (
	firstOwn    frame.CloseCode = 3000
	firstOfApps frame.CloseCode = 4000
	lastOwn     frame.CloseCode = 4999
)

type collector struct {
	source Source
	codes  []frame.CloseCode
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range figures {
		to <- f.desc
	}
	for _, f := range families {
		to <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s := c.source.Stats()
	for _, f := range figures {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s))
	}
	for _, f := range families {
		for _, sample := range f.samples(c, &s) {
			to <- prometheus.MustNewConstMetric(f.desc, f.kind, sample.value, sample.labels...)
		}
	}
}

// A sample is a value with its labels.
type sample struct {
	value  float64
	labels []string
}

// refusals has a sample for every reason, also for what has not happened yet:
// a counter that is not there cannot be seen to grow from zero.
func (c *collector) refusals(s *engine.Stats) (all []sample) {
	for why := engine.RefusedRequest; why <= engine.RefusedServer; why++ {
		all = append(all, sample{float64(s.RefusedBy[why]), []string{label(why)}})
	}
	return all
}

// closes has only what has happened: most pairs never do.
func (c *collector) closes(s *engine.Stats) (all []sample) {
	for cause, codes := range s.EndedBy {
		sums := map[string]float64{}
		for code, n := range codes {
			sums[c.code(code)] += float64(n)
		}
		for code, n := range sums {
			all = append(all, sample{n, []string{code, label(cause)}})
		}
	}
	return all
}

// code is the label of a close code. Peers can send no others below 3000 than those
// that RFC 6455 knows.
func (c *collector) code(code frame.CloseCode) string {
	switch {
	case code < firstOwn || slices.Contains(c.codes, code):
		return strconv.Itoa(int(code))
	case code < firstOfApps:
		return "3xxx"
	}
	return "4xxx"
}

func (c *collector) drops(s *engine.Stats) []sample {
	return []sample{
		{float64(s.DroppedOverflow - s.DroppedOldest), []string{"drop_newest"}},
		{float64(s.DroppedOldest), []string{"drop_oldest"}},
		{float64(s.DroppedExpired), []string{"expire"}},
		{float64(s.Replaced), []string{"replace"}},
	}
}

func (c *collector) workers(s *engine.Stats) []sample {
	return []sample{
		{float64(s.Workers), []string{"running"}},
		{float64(s.WorkersMost - s.Workers), []string{"free"}},
	}
}

// label makes a label's value of a name.
func label(name fmt.Stringer) string { return strings.ReplaceAll(name.String(), " ", "_") }
