package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteTable writes c for people: a table for each load, what to mind, and the verdict
// in words in the last line.
func (c *Comparison) WriteTable(out io.Writer) error {
	var text strings.Builder
	for i := range c.Loads {
		c.Loads[i].write(&text, c)
	}
	for _, name := range c.OnlyOld {
		fmt.Fprintf(&text, "only in the old file: %s\n", name)
	}
	for _, name := range c.OnlyNew {
		fmt.Fprintf(&text, "only in the new file: %s\n", name)
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(&text, "WARNING: %s\n", w)
	}
	if len(c.OnlyOld)+len(c.OnlyNew)+len(c.Warnings) > 0 {
		text.WriteString("\n")
	}
	text.WriteString(c.Summary() + "\n")
	_, err := io.WriteString(out, text.String())
	return err
}

// write writes the table of one load; the judged metric has an arrow.
func (l *LoadComparison) write(out *strings.Builder, c *Comparison) {
	fmt.Fprintf(out, "%s\n%d and %d rounds\n\n", l.Name, l.OldRounds, l.NewRounds)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\told\tnew\tnew/old\t%.0f %% confidence\t\t\n", 100*c.Confidence)
	for _, m := range l.Metrics {
		interval, mark := "too few rounds", ""
		if m.Low > 0 {
			interval = fmt.Sprintf("%.3f to %.3f", m.Low, m.High)
		}
		if m.Metric == l.Judged {
			mark = "<- " + l.Verdict.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.3f\t%s\t%s\t\n", m.Metric.title(l.deliveries), m.Metric.format(m.Old), m.Metric.format(m.New),
			m.Ratio, interval, mark)
	}
	t.Flush()
	for _, w := range l.Warnings {
		fmt.Fprintf(out, "WARNING: %s\n", w)
	}
	out.WriteString("\n")
}

// Summary is the verdict in a line.
func (c *Comparison) Summary() string {
	worst := &c.Loads[0]
	count := 0
	for i := range c.Loads {
		l := &c.Loads[i]
		switch {
		case l.Verdict > worst.Verdict, l.Verdict == worst.Verdict && c.worse(l) > c.worse(worst):
			worst = l
		}
		if l.Verdict == c.Verdict {
			count++
		}
	}
	of := fmt.Sprintf("%d of %d loads", count, len(c.Loads))
	switch m := worst.metric(worst.Judged); c.Verdict {
	case VerdictFailed:
		return fmt.Sprintf("FAILED: rounds of the new file failed or ended early in %s (%s).", of, worst.Name)
	case VerdictRegression:
		return fmt.Sprintf("REGRESSION past %s in %s: %v %s at the worst (%s).",
			percent(c.Threshold), of, worst.Judged, c.span(m), worst.Name)
	case VerdictUndecided:
		return fmt.Sprintf("UNDECIDED: %v cannot be judged in %s (%s).", worst.Judged, of, worst.Name)
	case VerdictImprovement:
		return fmt.Sprintf("No regression past %s; improvement in %s: %v %s (%s).",
			percent(c.Threshold), of, worst.Judged, c.span(m), worst.Name)
	default:
		return fmt.Sprintf("No regression past %s in %s: %v %s at the worst (%s).",
			percent(c.Threshold), of, worst.Judged, c.span(m), worst.Name)
	}
}

// worse is the judged ratio, turned so that more is worse.
func (c *Comparison) worse(l *LoadComparison) float64 {
	m := l.metric(l.Judged)
	switch {
	case m == nil:
		return 0
	case m.Metric.moreIsBetter():
		return 1 / m.Ratio
	}
	return m.Ratio
}

// span is a ratio as a change, with its interval.
func (c *Comparison) span(m *MetricComparison) string {
	return fmt.Sprintf("%+.1f %% (%+.1f to %+.1f)", 100*(m.Ratio-1), 100*(m.Low-1), 100*(m.High-1))
}

func percent(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }
