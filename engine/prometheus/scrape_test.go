package penstockprometheus_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
)

// metrics are those of a scrape, by name.
type metrics map[string]*dto.MetricFamily

// serve exposes collectors over HTTP and returns what scrapes them in the text format.
func serve(t *testing.T, collectors ...prometheus.Collector) func() metrics {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	s := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(s.Close)
	return func() metrics {
		t.Helper()
		res, err := http.Get(s.URL)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Contains(t, res.Header.Get("Content-Type"), "text/plain")
		parser := expfmt.NewTextParser(model.LegacyValidation)
		got, err := parser.TextToMetricFamilies(res.Body)
		require.NoError(t, err)
		return got
	}
}

// value is that of the only metric of a family with these labels, as name, value pairs.
func (m metrics) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	require.Contains(t, m, name)
	for _, one := range m[name].Metric {
		var got []string
		for _, l := range one.Label {
			got = append(got, l.GetName(), l.GetValue())
		}
		if slices.Equal(got, labels) {
			switch {
			case one.Counter != nil:
				return one.Counter.GetValue()
			case one.Gauge != nil:
				return one.Gauge.GetValue()
			}
			return float64(one.Histogram.GetSampleCount())
		}
	}
	t.Fatalf("%s has no %v, only %v", name, labels, m[name].Metric)
	return 0
}

// sum is that of all labels.
func (m metrics) sum(name string) (sum float64) {
	for _, one := range m[name].GetMetric() {
		sum += one.GetCounter().GetValue() + one.GetGauge().GetValue() + float64(one.GetHistogram().GetSampleCount())
	}
	return sum
}

// documented are the metrics that docs/observability.md has in its table, with their labels.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(penstock_\\w+)` \\| (.*?) \\|").FindAllStringSubmatch(page(t, "observability.md"), -1) {
		labels := []string{}
		for _, l := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1) {
			labels = append(labels, l[1])
		}
		all[row[1]] = labels
	}
	require.Greater(t, len(all), 15, "the rows have been found")
	return all
}

// exercised scrapes an engine with all that there is in it.
func exercised(t *testing.T) metrics {
	e := newExercise(t)
	e.run(t)
	return e.scrape()
}

// Every metric of the page is scraped, with these labels, and no other; each has a help
// text with its unit, and names as Prometheus wants them.
func TestScrapeHasWhatThePageHas(t *testing.T) {
	got, want := exercised(t), documented(t)
	for name, labels := range want {
		require.Contains(t, got, name)
		for _, one := range got[name].Metric {
			var names []string
			for _, l := range one.Label {
				names = append(names, l.GetName())
			}
			require.ElementsMatch(t, labels, names, name)
		}
	}
	for name, f := range got {
		require.Contains(t, want, name, "the page does not have it")
		unit := regexp.MustCompile(`\. Unit: (\w+)\.$`).FindStringSubmatch(f.GetHelp())
		require.NotNil(t, unit, "%s: %s", name, f.GetHelp())
		for _, base := range []string{"seconds", "bytes"} {
			require.Equal(t, unit[1] == base, strings.Contains(name, "_"+base), "%s: the unit is in the name", name)
		}
		require.Equal(t, f.GetType() == dto.MetricType_COUNTER, strings.HasSuffix(name, "_total"), name)
	}
}

// What a Config cannot mean is told at once.
func TestConfigMistakes(t *testing.T) {
	for _, buckets := range [][]float64{{0}, {-1}, {1, 1}, {2, 1}, {math.NaN()}, {1, math.NaN()}} {
		_, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{Buckets: buckets})
		require.Error(t, err, "%v", buckets)
	}
}

// Histograms are native, and classic as far as that is wanted.
func TestHistogramsAreNative(t *testing.T) {
	for _, row := range []struct{ buckets, want []float64 }{
		{nil, []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
		{[]float64{.5, 2}, []float64{.5, 2}},
		{[]float64{}, nil},
	} {
		timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{Buckets: row.buckets})
		require.NoError(t, err)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(timings)
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Len(t, families, 2)
		for _, f := range families {
			h := f.Metric[0].Histogram
			require.NotNil(t, h.Schema, "%s has no native buckets", f.GetName())
			var bounds []float64
			for _, b := range h.Bucket {
				bounds = append(bounds, b.GetUpperBound())
			}
			require.Equal(t, row.want, bounds, f.GetName())
		}
	}
}
