package bench

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Critical values of Mann-Whitney's U, one-sided 5 %, as tables have them; the rank is the next.
func TestTailRank(t *testing.T) {
	for _, c := range []struct{ n, m, want int }{{2, 2, 0}, {3, 3, 1}, {4, 4, 2}, {5, 5, 5}, {5, 7, 7}, {8, 8, 16}, {10, 10, 28}, {20, 20, 139}} {
		require.Equal(t, c.want, tailRank(c.n, c.m, 0.05), "%d and %d", c.n, c.m)
		require.Equal(t, c.want, tailRank(c.m, c.n, 0.05), "%d and %d", c.m, c.n)
	}
	require.Equal(t, 0, tailRank(3, 3, 0.025)) // no 95 % from three rounds
	require.Equal(t, 1, tailRank(4, 4, 0.025))
	// Where the normal distribution takes over, the ranks go on in the same pace.
	last, step := tailRank(exactSamples-1, exactSamples, 0.05), tailRank(exactSamples, exactSamples, 0.05)
	step -= last
	require.InDelta(t, last+2*step, tailRank(exactSamples, exactSamples+1, 0.05), 3)
}

// The interval holds the true ratio as often as it says, and is no wider than it must be.
func TestRatioCoverage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sample := func(shift float64) (x []float64) {
		for range 6 {
			x = append(x, shift+0.05*random.NormFloat64())
		}
		return x
	}
	const runs = 4000
	held := 0
	for range runs {
		if r := ratioOf(sample(0), sample(math.Log(1.2)), 0.9); r.low <= 1.2 && 1.2 <= r.high {
			held++
		}
	}
	require.InDelta(t, 0.907, float64(held)/runs, 0.015) // the exact probability
}

// machineOf makes results of a machine that changes its speed between rounds, as one did that the
// defaults were chosen on: server and client cost up to twice as much, the server somewhat less so.
type machineOf struct {
	*rand.Rand
	speeds [2]float64 // logarithms, between which a round draws its own
}

func (m machineOf) file(rounds int, server float64) *File {
	f := NewFile()
	for i := range rounds {
		slow := m.speeds[0] + (m.speeds[1]-m.speeds[0])*m.Float64()
		f.Results = append(f.Results, roundOf(i, 3000*server*math.Exp(0.9*slow+0.03*m.NormFloat64()), 2500*math.Exp(slow)))
	}
	return f
}

// roundOf is one round with what it cost.
func roundOf(round int, server, client float64) *Result {
	r := &Result{
		Name: "echo: some", Scenario: "echo", Round: round, Started: time.Unix(int64(round), 0), WindowNS: 2e9,
		Messages: 200_000, MessagesPerSecond: 100_000, LatencyMode: ClosedLoop,
		Latency: Latency{P50: 1e5, P90: 2e5, P99: 1e6, P999: 1e7, Max: 2e7}, ServerCPU: &server, ClientCPU: &client,
		Failures: []Failures{}, Settings: map[string]any{"payload": 128.0, "url": "ws://127.0.0.1:1/"},
		Machine: Machine{CPU: "some CPU", CPUs: 2},
	}
	for i := range 20 {
		r.Series = append(r.Series, Point{
			End: int64(i+1) * 1e8, Messages: 10_000, Slowest: 1e7, ServerMemory: 20 << 20,
			ServerCPU: server * 10_000 / 1e8, ClientCPU: client * 10_000 / 1e8,
		})
	}
	return r
}

func compared(t *testing.T, old, new *File, c CompareConfig) *Comparison {
	t.Helper()
	result, err := Compare(old, new, c)
	require.NoError(t, err)
	return result
}

// What the gate is for: 15 % is found, and the same build is not found to be worse, on a
// machine whose own speed changes by far more. Without the client as a yardstick it would not do.
func TestCompareOnNoisyMachine(t *testing.T) {
	const pairs = 300
	verdicts := func(server float64, metric Metric) (regressions int) {
		m := machineOf{rand.New(rand.NewPCG(3, 4)), [2]float64{0, math.Log(2.2)}}
		for range pairs {
			if compared(t, m.file(7, 1), m.file(7, server), CompareConfig{Metric: metric}).Verdict == VerdictRegression {
				regressions++
			}
		}
		return regressions
	}
	require.Less(t, verdicts(1, 0), pairs*5/100)
	require.Greater(t, verdicts(1.15, 0), pairs*95/100)
	require.Less(t, verdicts(1.15, MetricServerCPU), pairs*50/100)
	require.Less(t, verdicts(1/1.15, 0), 1)
}

// On a machine that was quick for one file and slow for the other throughout, no slope can be
// fitted: the interval says so, and a warning why.
func TestCompareMachinesApart(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 5))
		quick, slow := machineOf{random, [2]float64{0, 0.02}}, machineOf{random, [2]float64{0.8, 0.82}}
		for _, pair := range [][2]*File{{quick.file(7, 1), slow.file(7, 1)}, {slow.file(7, 1), quick.file(7, 1)}} {
			c := compared(t, pair[0], pair[1], CompareConfig{})
			require.Equal(t, VerdictQuiet, c.Verdict, seed)
			require.Contains(t, strings.Join(c.Loads[0].Warnings, "\n"), "machine's speed changed")
			m := c.Loads[0].metric(MetricServerCPUAdjusted)
			require.Greater(t, m.High/m.Low, 1.2)
		}
		raw := compared(t, quick.file(7, 1), slow.file(7, 1), CompareConfig{Metric: MetricServerCPU})
		require.Equal(t, VerdictRegression, raw.Verdict) // which is why it is not judged by that
	}
}

func TestJudge(t *testing.T) {
	c := CompareConfig{Threshold: 0.05}
	for _, x := range []struct {
		metric           Metric
		ratio, low, high float64
		want             Verdict
	}{
		{MetricP50, 1.06, 1.01, 1.1, VerdictRegression},
		{MetricP50, 1.04, 1.01, 1.1, VerdictQuiet}, // sure, but not much
		{MetricP50, 1.20, 0.99, 1.5, VerdictQuiet}, // much, but not sure
		{MetricP50, 1.20, 1.00, 1.5, VerdictQuiet}, // nothing is within the interval
		{MetricP50, 1.20, 0, 0, VerdictUndecided},  // no interval
		{MetricP50, 0.94, 0.9, 0.99, VerdictImprovement},
		{MetricP50, 0.94, 0.9, 1.01, VerdictQuiet},
		{MetricThroughput, 0.94, 0.9, 0.99, VerdictRegression},
		{MetricThroughput, 0.94, 0.9, 1.01, VerdictQuiet},
		{MetricThroughput, 1.06, 1.01, 1.1, VerdictImprovement},
	} {
		got := c.judge(&MetricComparison{Metric: x.metric, Ratio: x.ratio, Low: x.low, High: x.high})
		require.Equal(t, x.want, got, "%+v", x)
	}
	require.Equal(t, VerdictUndecided, c.judge(nil))
}

// rounds is a file of these costs, with the client's always the same.
func rounds(server ...float64) *File {
	f := NewFile()
	for i, s := range server {
		f.Results = append(f.Results, roundOf(i, s, 2500))
	}
	return f
}

func TestCompareFigures(t *testing.T) {
	c := compared(t, rounds(1000, 1010, 990), rounds(2000, 2020, 1980), CompareConfig{})
	require.Equal(t, VerdictRegression, c.Verdict)
	require.False(t, c.Passes())
	l := c.Loads[0]
	require.Equal(t, MetricServerCPUAdjusted, l.Judged)
	require.Len(t, l.Metrics, len(Metrics()))
	for _, m := range []Metric{MetricServerCPU, MetricServerCPUAdjusted} {
		require.InDelta(t, 2, l.metric(m).Ratio, 0.001, m)
		require.InDelta(t, 1980.0/1010, l.metric(m).Low, 0.001, m)
		require.InDelta(t, 2020.0/990, l.metric(m).High, 0.001, m)
		require.False(t, l.metric(m).Blocks)
	}
	require.Equal(t, 1000.0, l.metric(MetricServerCPU).Old)
	require.Equal(t, 2000.0, l.metric(MetricServerCPU).New)
	require.Equal(t, float64(20<<20), l.metric(MetricServerMemory).New)
	require.Equal(t, 1.0, l.metric(MetricClientCPU).Ratio)

	back := compared(t, rounds(2000, 2020, 1980), rounds(1000, 1010, 990), CompareConfig{})
	require.Equal(t, VerdictImprovement, back.Verdict)
	require.True(t, back.Passes())
}

// What is judged falls back to what is known.
func TestCompareUnknownCPU(t *testing.T) {
	old, new := rounds(1000, 1000, 1000), rounds(1000, 1000, 1000)
	for _, r := range append(old.Results, new.Results...) {
		r.ClientCPU = nil
	}
	require.Equal(t, MetricServerCPU, compared(t, old, new, CompareConfig{}).Loads[0].Judged)
	for _, r := range new.Results {
		r.ServerCPU = nil
		r.MessagesPerSecond /= 2
	}
	c := compared(t, old, new, CompareConfig{})
	require.Equal(t, MetricThroughput, c.Loads[0].Judged)
	require.Equal(t, VerdictRegression, c.Verdict)
	asked := compared(t, old, new, CompareConfig{Metric: MetricServerCPU})
	require.Equal(t, VerdictUndecided, asked.Verdict)
	require.False(t, asked.Passes())
	require.Contains(t, asked.Loads[0].Warnings[0], "not known in both")
}

// Of a fan-out the figures are those of deliveries.
func TestCompareDeliveries(t *testing.T) {
	of := func(perDelivery float64) *File {
		f := rounds(1e6, 1e6, 1e6)
		for _, r := range f.Results {
			client := 10.0
			r.Deliveries, r.DeliveriesPerSecond = 1000*r.Messages, 1000*r.MessagesPerSecond
			r.ServerCPUPerDelivery, r.ClientCPUPerDelivery = &perDelivery, &client
		}
		return f
	}
	c := compared(t, of(1000), of(1300), CompareConfig{})
	require.Equal(t, VerdictRegression, c.Verdict)
	require.Equal(t, 1300.0, c.Loads[0].metric(MetricServerCPU).New)
	require.Equal(t, 1e8, c.Loads[0].metric(MetricThroughput).New)
	var out strings.Builder
	require.NoError(t, c.WriteTable(&out))
	require.Contains(t, out.String(), "server CPU/delivery")
}

// Fewer than three rounds: parts of the window are the samples, where there are such; latency
// has none, and is not judged without.
func TestCompareFewRounds(t *testing.T) {
	c := compared(t, rounds(1000), rounds(1300, 1300), CompareConfig{})
	require.Equal(t, VerdictRegression, c.Verdict)
	l := c.Loads[0]
	require.True(t, l.metric(MetricServerCPU).Blocks)
	require.InDelta(t, 1.3, l.metric(MetricServerCPU).Ratio, 1e-9)
	require.InDelta(t, 1, l.metric(MetricThroughput).Ratio, 1e-9)
	require.Positive(t, l.metric(MetricThroughput).Low)
	require.Zero(t, l.metric(MetricP99).Low)
	require.Contains(t, l.Warnings[0], "parts of one window")

	c = compared(t, rounds(1000), rounds(1300, 1300), CompareConfig{Metric: MetricP99})
	require.Equal(t, VerdictUndecided, c.Verdict)
	require.Contains(t, c.Loads[0].Warnings[0], "too few")

	require.True(t, compared(t, rounds(1000, 1000), rounds(1300, 1300), CompareConfig{}).Loads[0].metric(MetricServerCPU).Blocks)

	short := rounds(1000)
	short.Results[0].Series = short.Results[0].Series[:7] // two intervals a block are the least
	require.Equal(t, VerdictUndecided, compared(t, short, rounds(1000), CompareConfig{}).Verdict)
}

// Blocks weigh intervals by their length and messages, not one like the other.
func TestBlocks(t *testing.T) {
	r := &Result{}
	for i := range 8 {
		p := Point{End: int64(i+1) * 1e8, Messages: 100, ServerCPU: 0.5}
		if i%2 == 1 {
			p.Messages, p.ServerCPU = 300, 1.5
		}
		r.Series = append(r.Series, p)
	}
	require.InDeltaSlice(t, []float64{5e5, 5e5, 5e5, 5e5}, MetricServerCPU.blocks(r, 4), 1e-6)
	require.InDeltaSlice(t, []float64{2000, 2000, 2000, 2000}, MetricThroughput.blocks(r, 4), 1e-6)
}

// No bad round passes silently, and none gets into the figures.
func TestCompareBadRounds(t *testing.T) {
	bad := map[string]func(*Result){
		"PARTIAL": func(r *Result) { r.Partial = true },
		"EMPTY":   func(r *Result) { r.Messages = 0 },
		"FAILED: 2 connections, first connection 1: it went": func(r *Result) {
			r.Errors, r.Failures = 2, []Failures{{FailureClosed, 2, "connection 1: it went"}}
		},
	}
	for want, spoil := range bad {
		spoiled := rounds(1000, 1000, 1000, 5000)
		spoil(spoiled.Results[3])
		c := compared(t, rounds(1000, 1000, 1000), spoiled, CompareConfig{})
		require.Equal(t, VerdictFailed, c.Verdict, want)
		require.False(t, c.Passes())
		require.Contains(t, c.Loads[0].Warnings[0], want)
		require.Equal(t, 3, c.Loads[0].NewRounds)
		require.Equal(t, 1.0, c.Loads[0].metric(MetricServerCPU).High)

		c = compared(t, spoiled, rounds(1000, 1000, 1000), CompareConfig{})
		require.Equal(t, VerdictQuiet, c.Verdict)
		require.Contains(t, c.Loads[0].Warnings[0], want)

		none := rounds(1000)
		spoil(none.Results[0])
		c = compared(t, none, rounds(1000, 1000, 1000), CompareConfig{})
		require.Equal(t, VerdictUndecided, c.Verdict)
		var out strings.Builder
		require.NoError(t, c.WriteTable(&out))
		require.Contains(t, out.String(), "nothing to compare")
	}
}

func TestCompareDifferences(t *testing.T) {
	old, new := rounds(1000, 1000, 1000), rounds(1000, 1000, 1000)
	c := compared(t, old, new, CompareConfig{})
	require.Empty(t, c.Warnings)
	require.Empty(t, c.Loads[0].Warnings)

	for _, r := range new.Results {
		r.Machine.CPUs = 4
		r.Settings["payload"], r.Settings["inline"], r.Settings["url"] = 256.0, true, "ws://127.0.0.1:2/"
	}
	c = compared(t, old, new, CompareConfig{})
	require.Equal(t, []string{"different machine: CPUs 2 and 4"}, c.Warnings)
	require.Equal(t, []string{"different settings: inline none and true; payload 128 and 256"}, c.Loads[0].Warnings)
}

// Measured one after the other is worth a warning when something was found.
func TestCompareInTurn(t *testing.T) {
	later := rounds(1500, 1500, 1500)
	for _, r := range later.Results {
		r.Started = r.Started.Add(time.Hour)
	}
	const warning = "let their runs alternate"
	require.Contains(t, strings.Join(compared(t, rounds(1000, 1000, 1000), later, CompareConfig{}).Loads[0].Warnings, ""), warning)
	require.Contains(t, strings.Join(compared(t, later, rounds(1000, 1000, 1000), CompareConfig{}).Loads[0].Warnings, ""), warning)
	later.Results[0].Started = time.Unix(0, 0)
	require.NotContains(t, strings.Join(compared(t, rounds(1000, 1000, 1000), later, CompareConfig{}).Loads[0].Warnings, ""), warning)
}

func TestCompareNames(t *testing.T) {
	old, new := rounds(1000, 1000, 1000), rounds(1000, 1000, 1000)
	gone, come := roundOf(0, 1, 1), roundOf(0, 1, 1)
	gone.Name, come.Name = "gone", "come"
	c := compared(t, NewFile(append(old.Results, gone)...), NewFile(append(slices.Clone(new.Results), come)...), CompareConfig{})
	require.Equal(t, []string{"gone"}, c.OnlyOld)
	require.Equal(t, []string{"come"}, c.OnlyNew)
	require.True(t, c.Passes())
	var out strings.Builder
	require.NoError(t, c.WriteTable(&out))
	require.Contains(t, out.String(), "only in the old file: gone\nonly in the new file: come\n")

	_, err := Compare(NewFile(gone), NewFile(come), CompareConfig{})
	require.ErrorContains(t, err, `["gone"] and ["come"]`)
	for _, bad := range []CompareConfig{{Threshold: -1}, {Threshold: 11}, {Confidence: 1}, {Metric: 99}, {Threshold: math.NaN()}} {
		_, err = Compare(old, new, bad)
		var wrong *ConfigError
		require.ErrorAs(t, err, &wrong, "%+v", bad)
	}
}

// The last line says it all, for each verdict.
func TestCompareSummary(t *testing.T) {
	last := func(c *Comparison) string {
		var out strings.Builder
		require.NoError(t, c.WriteTable(&out))
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		require.Equal(t, c.Summary(), lines[len(lines)-1])
		return lines[len(lines)-1]
	}
	base := rounds(1000, 1000, 1000)
	require.Contains(t, last(compared(t, base, rounds(1000, 1000, 1000), CompareConfig{})), "No regression past 5 % in 1 of 1 loads")
	require.Contains(t, last(compared(t, base, rounds(800, 800, 800), CompareConfig{})), "improvement in 1 of 1 loads: server-cpu-adjusted -20.0 %")
	other := roundOf(0, 2000, 2500)
	other.Name = "worst"
	twice := rounds(1200, 1200, 1200)
	for _, f := range []*File{base, twice} {
		for i := range 3 {
			r := *other
			r.Round = i
			if f == base {
				half := 1000.0
				r.ServerCPU = &half
			}
			f.Results = append(f.Results, &r)
		}
	}
	c := compared(t, base, twice, CompareConfig{})
	require.Equal(t, "REGRESSION past 5 % in 2 of 2 loads: server-cpu-adjusted +100.0 % (+100.0 to +100.0) at the worst (worst).", last(c))
	require.Contains(t, last(compared(t, base, twice, CompareConfig{Threshold: 0.5})), "in 1 of 2 loads")

	// The worst verdict is the file's, wherever it stands.
	for _, slow := range []string{"echo: some", "worst"} {
		better := NewFile(base.Results...)
		for i, r := range base.Results {
			if r.Name == slow {
				dear := *r
				cost := 2 * *r.ServerCPU
				dear.ServerCPU = &cost
				better.Results = slices.Clone(better.Results)
				better.Results[i] = &dear
			}
		}
		require.Equal(t, VerdictRegression, compared(t, base, better, CompareConfig{}).Verdict, slow)
	}

	text, err := json.Marshal(c)
	require.NoError(t, err)
	var back Comparison
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, VerdictRegression, back.Verdict)
	require.Equal(t, c.Loads[1].Metrics, back.Loads[1].Metrics)
	require.Contains(t, string(text), `"judged":"server-cpu-adjusted"`)
	require.Error(t, json.Unmarshal([]byte(`{"verdict":"fine"}`), &back))
	require.Error(t, json.Unmarshal([]byte(`{"loads":[{"judged":"fine"}]}`), &back))
}
