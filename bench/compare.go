package bench

import (
	"errors"
	"fmt"
	"slices"
)

// The defaults of a CompareConfig. On a shared machine with two CPUs, whose load stood at 4 to 17
// and whose speed changed twofold meanwhile, they found a build that was made 15 % dearer in 92 % of
// pairs of files with seven alternating rounds (ten: 97 %), and called the same build dearer in 0.8 %.
const (
	DefaultThreshold  = 0.05
	DefaultConfidence = 0.90
)

// CompareConfig says when a difference is a regression. The zero value is the
// default of each field.
type CompareConfig struct {
	// Threshold is the relative change for the worse from which on one counts, if the
	// whole confidence interval is for the worse, too. 0: DefaultThreshold. At most 10.
	Threshold float64

	// Confidence is that of the intervals, two-sided. 0: DefaultConfidence. Three rounds
	// a side cannot give more than 0.90, four 0.97.
	Confidence float64

	// Metric is the one that is judged. 0: the first that both sides know of
	// MetricServerCPUAdjusted, MetricServerCPU, MetricThroughput and MetricServerMemory.
	Metric Metric
}

// Verdict is what a comparison amounts to.
type Verdict uint8

// The verdicts, from good to bad.
const (
	VerdictQuiet       Verdict = iota // no regression is shown
	VerdictImprovement                // better, by the measure that a regression is worse by
	VerdictUndecided                  // the judged metric is not known, or has no interval
	VerdictRegression                 // worse, past the threshold
	VerdictFailed                     // rounds of the new file failed, or ended early
	verdictEnd
)

// String returns the verdict in words, as it stands in JSON.
func (v Verdict) String() string {
	if v < verdictEnd {
		return [verdictEnd]string{"no regression", "improvement", "undecided", "regression", "failed"}[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText returns the verdict in words.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict.
func (v *Verdict) UnmarshalText(text []byte) error {
	for *v = 0; *v < verdictEnd; *v++ {
		if v.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("bench: unknown verdict %q", text)
}

// Comparison is how the results of one file differ from those of another.
type Comparison struct {
	Verdict    Verdict          `json:"verdict"` // the worst of the loads'
	Threshold  float64          `json:"threshold"`
	Confidence float64          `json:"confidence"`
	Loads      []LoadComparison `json:"loads"` // those that both files have
	OnlyOld    []string         `json:"only_old,omitempty"`
	OnlyNew    []string         `json:"only_new,omitempty"`
	Warnings   []string         `json:"warnings,omitempty"` // what a reader must know besides
}

// LoadComparison compares the rounds of one name.
type LoadComparison struct {
	Name      string             `json:"name"`
	Verdict   Verdict            `json:"verdict"`
	Judged    Metric             `json:"judged"`
	OldRounds int                `json:"old_rounds"` // that are whole and without failures: others are left out
	NewRounds int                `json:"new_rounds"`
	Metrics   []MetricComparison `json:"metrics"` // those that both sides know
	Warnings  []string           `json:"warnings,omitempty"`

	deliveries bool
	inTurn     bool // one side was measured after the other
}

// MetricComparison compares one figure.
type MetricComparison struct {
	Metric Metric  `json:"metric"`
	Old    float64 `json:"old,omitempty"` // medians of the rounds, in the unit that Result has;
	New    float64 `json:"new,omitempty"` // 0 for the adjusted metric, which has no unit
	Ratio  float64 `json:"ratio"`         // new to old

	// The confidence interval of Ratio; 0 if there are too few samples for one.
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`

	// Blocks: there are fewer than three rounds on a side, so that parts of each round's
	// window are the samples. The interval then lacks what differs between runs.
	Blocks bool `json:"blocks,omitempty"`
}

// Compare tells how the results of new differ from those of old that have the same
// name. It fails if there are none, or the configuration is wrong; bad results are no error but
// a Verdict.
func Compare(old, new *File, c CompareConfig) (*Comparison, error) {
	setDefault(&c.Threshold, DefaultThreshold)
	setDefault(&c.Confidence, DefaultConfidence)
	if err := c.validate(); err != nil {
		return nil, err
	}
	before, after := byName(old), byName(new)
	result := &Comparison{Threshold: c.Threshold, Confidence: c.Confidence}
	for _, name := range before.names {
		if after.rounds[name] == nil {
			result.OnlyOld = append(result.OnlyOld, name)
			continue
		}
		load := c.load(name, before.rounds[name], after.rounds[name])
		result.Verdict = max(result.Verdict, load.Verdict)
		result.Loads = append(result.Loads, load)
	}
	for _, name := range after.names {
		if before.rounds[name] == nil {
			result.OnlyNew = append(result.OnlyNew, name)
		}
	}
	if result.Loads == nil {
		return nil, fmt.Errorf("bench: the files have no load in common: %q and %q", before.names, after.names)
	}
	result.Warnings = machineWarnings(old.Results, new.Results)
	return result, nil
}

// Passes tells that a gate may let the new build through: nothing is worse past the
// threshold, has failed, or could not be judged.
func (c *Comparison) Passes() bool { return c.Verdict < VerdictUndecided }

func (c CompareConfig) validate() error {
	var metric error
	if c.Metric >= metricEnd {
		metric = &ConfigError{"Metric", c.Metric, fmt.Sprint(Metrics())}
	}
	within := func(field string, value, low, high float64) error {
		if low <= value && value <= high {
			return nil
		}
		return &ConfigError{field, value, fmt.Sprintf("%v to %v", low, high)}
	}
	return errors.Join(within("Threshold", c.Threshold, 0.001, 10), within("Confidence", c.Confidence, 0.5, 0.999), metric)
}

// named are a file's results by name, and the names in their order.
type named struct {
	names  []string
	rounds map[string][]*Result
}

func byName(f *File) named {
	n := named{rounds: map[string][]*Result{}}
	for _, r := range f.Results {
		if n.rounds[r.Name] == nil {
			n.names = append(n.names, r.Name)
		}
		n.rounds[r.Name] = append(n.rounds[r.Name], r)
	}
	return n
}

// load compares the rounds of one name.
func (c CompareConfig) load(name string, old, new []*Result) LoadComparison {
	l := LoadComparison{Name: name, Judged: c.Metric}
	l.Warnings = append(badRounds("old", old), badRounds("new", new)...)
	failed := len(badRounds("new", new)) > 0
	l.Warnings = append(l.Warnings, settingWarnings(old, new)...)
	old, new = sound(old), sound(new)
	l.OldRounds, l.NewRounds = len(old), len(new)
	l.inTurn = inTurn(old, new)
	l.deliveries = len(new) > 0 && new[0].Deliveries > 0
	for _, m := range Metrics() {
		if compared, known := m.compare(old, new, c.Confidence); known {
			l.Metrics = append(l.Metrics, compared)
		}
	}
	if l.Judged == 0 {
		l.Judged = l.firstOf(MetricServerCPUAdjusted, MetricServerCPU, MetricThroughput, MetricServerMemory)
	}
	l.Verdict = c.judge(l.metric(l.Judged))
	if failed {
		l.Verdict = VerdictFailed
	}
	l.Warnings = append(l.Warnings, l.doubts(c)...)
	return l
}

// sound are the results that samples can come from.
func sound(rounds []*Result) (whole []*Result) {
	for _, r := range rounds {
		if !r.Partial && r.Errors == 0 && r.Messages > 0 {
			whole = append(whole, r)
		}
	}
	return whole
}

// metric returns nil if m was not compared.
func (l *LoadComparison) metric(m Metric) *MetricComparison {
	i := slices.IndexFunc(l.Metrics, func(c MetricComparison) bool { return c.Metric == m })
	if i < 0 {
		return nil
	}
	return &l.Metrics[i]
}

// firstOf returns the first metric that was compared, or the last.
func (l *LoadComparison) firstOf(wanted ...Metric) (m Metric) {
	for _, m = range wanted {
		if l.metric(m) != nil {
			break
		}
	}
	return m
}

// judge holds a metric against the threshold. The whole interval has to be for the worse, but
// only its middle past the threshold: with the whole of it there, a regression of 15 %
// would need intervals of a few percent, for which shared machines are too noisy.
func (c CompareConfig) judge(m *MetricComparison) Verdict {
	if m == nil || m.Low == 0 {
		return VerdictUndecided
	}
	ratio, low, high := m.Ratio, m.Low, m.High
	if m.Metric.moreIsBetter() {
		ratio, low, high = 1/ratio, 1/high, 1/low
	}
	switch {
	case ratio > 1+c.Threshold && low > 1:
		return VerdictRegression
	case ratio < 1/(1+c.Threshold) && high < 1:
		return VerdictImprovement
	}
	return VerdictQuiet
}

const (
	enoughRounds   = 3 // from which on rounds are the samples
	blocksPerRound = 4
)

// compare returns false if a side does not know the metric.
func (m Metric) compare(old, new []*Result, confidence float64) (c MetricComparison, known bool) {
	c.Metric = m
	figures := Metric.ofRounds
	if min(len(old), len(new)) < enoughRounds {
		figures = Metric.ofBlocks
		if len(figures(m, old)) == 0 || len(figures(m, new)) == 0 {
			figures = Metric.ofRounds // latency: a ratio is known, and no interval
		} else {
			c.Blocks = true
		}
	}
	r, known := m.ratioOf(figures(m, old), figures(m, new), confidence)
	c.Ratio, c.Low, c.High = r.value, r.low, r.high
	if m != MetricServerCPUAdjusted {
		c.Old, c.New = middle(m.ofRounds(old)), middle(m.ofRounds(new))
	}
	return c, known
}

// figures is a figure, and beside it the client's CPU.
type figures struct{ figure, client float64 }

func (m Metric) ofRounds(rounds []*Result) (all []figures) {
	for _, r := range rounds {
		all = append(all, figures{m.of(r), MetricClientCPU.of(r)})
	}
	return all
}

func (m Metric) ofBlocks(rounds []*Result) (all []figures) {
	for _, r := range rounds {
		client := MetricClientCPU.blocks(r, blocksPerRound)
		for i, x := range m.blocks(r, blocksPerRound) {
			if x > 0 {
				all = append(all, figures{x, client[i]})
			}
		}
	}
	return all
}

func (m Metric) ratioOf(old, new []figures, confidence float64) (r ratio, known bool) {
	a, b := logs(old, m == MetricServerCPUAdjusted), logs(new, m == MetricServerCPUAdjusted)
	if len(a) == 0 || len(b) == 0 {
		return ratio{}, false
	}
	if m == MetricServerCPUAdjusted {
		return adjustedRatio(a, b, confidence), true
	}
	plain := func(side []covaried) (x []float64) {
		for _, s := range side {
			x = append(x, s.figure)
		}
		return x
	}
	return ratioOf(plain(a), plain(b), confidence), true
}

// logs are the logarithms of what is known.
func logs(side []figures, both bool) (known []covaried) {
	for _, s := range side {
		figure, ok := logOf(s.figure)
		client, clientOK := logOf(s.client)
		if ok && (clientOK || !both) {
			known = append(known, covaried{figure, client})
		}
	}
	return known
}

// middle is the median of the figures that are known.
func middle(side []figures) float64 {
	var known []float64
	for _, s := range side {
		if s.figure > 0 {
			known = append(known, s.figure)
		}
	}
	slices.Sort(known)
	return median(known)
}
