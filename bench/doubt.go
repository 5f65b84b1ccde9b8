package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// badRounds says which rounds of a side are not used, and why.
func badRounds(side string, rounds []*Result) (warnings []string) {
	for _, r := range rounds {
		why := ""
		switch {
		case r.Errors > 0 && len(r.Failures) > 0:
			why = fmt.Sprintf("FAILED: %d connections, first %s", r.Errors, r.Failures[0].First)
		case r.Errors > 0:
			why = fmt.Sprintf("FAILED: %d connections", r.Errors)
		case r.Partial:
			why = "PARTIAL: it ended before its time"
		case r.Messages == 0:
			why = "EMPTY: no message came back"
		default:
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s round %d left out: %s", side, r.Round, why))
	}
	return warnings
}

// doubts are reasons to read the ratios with care.
func (l *LoadComparison) doubts(c CompareConfig) (warnings []string) {
	judged := l.metric(l.Judged)
	switch {
	case l.OldRounds == 0 || l.NewRounds == 0:
		return []string{"no sound round on one side: nothing to compare"}
	case judged == nil:
		warnings = append(warnings, fmt.Sprintf("%v is not known in both files", l.Judged))
	case judged.Low == 0:
		warnings = append(warnings, fmt.Sprintf("%d and %d rounds are too few for an interval of %v at %.0f %%: measure at least %d",
			l.OldRounds, l.NewRounds, l.Judged, 100*c.Confidence, enoughRounds))
	case judged.Blocks:
		warnings = append(warnings, fmt.Sprintf("fewer than %d rounds: the intervals come from parts of one window, and lack what differs from run to run", enoughRounds))
	case judged.High/judged.Low > (1+c.Threshold)*(1+c.Threshold):
		warnings = append(warnings, fmt.Sprintf("the interval of %v is wider than the threshold: more rounds would tell more", l.Judged))
	}
	if l.inTurn && (l.Verdict == VerdictRegression || l.Verdict == VerdictImprovement) {
		warnings = append(warnings, "one file was measured after the other: what the machine did meanwhile counts as the build's; let their runs alternate")
	}
	if m := l.metric(MetricClientCPU); m != nil && l.Judged == MetricServerCPUAdjusted && m.Low > 0 {
		if (m.Ratio > 1+c.Threshold && m.Low > 1) || (m.Ratio < 1/(1+c.Threshold) && m.High < 1) {
			warnings = append(warnings, fmt.Sprintf("the client's CPU is %.2f times what it was: the machine's speed changed, "+
				"or code that both sides run did; the adjusted figure cannot tell one from the other", m.Ratio))
		}
	}
	return warnings
}

// inTurn tells that all of one side were measured before any of the other.
func inTurn(a, b []*Result) bool {
	byStart := func(x, y *Result) int { return x.Started.Compare(y.Started) }
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	return slices.MaxFunc(a, byStart).Started.Before(slices.MinFunc(b, byStart).Started) ||
		slices.MaxFunc(b, byStart).Started.Before(slices.MinFunc(a, byStart).Started)
}

// machineWarnings says in what the machines differ.
func machineWarnings(old, new []*Result) []string {
	return differences("machine", old, new, machineValues)
}

func machineValues(r *Result) map[string]any {
	m := r.Machine
	return map[string]any{"CPU": m.CPU, "CPUs": m.CPUs, "kernel": m.Kernel, "OS": m.OS, "architecture": m.Arch, "Go": m.Go}
}

// addressKey is the setting that differs in every run: a started server takes the port
// that is free.
const addressKey = "url"

// settingWarnings says in what the settings of one load differ, but for addresses.
func settingWarnings(old, new []*Result) []string {
	of := func(r *Result) map[string]any {
		s := maps.Clone(r.Settings)
		delete(s, addressKey)
		return s
	}
	return differences("settings", old, new, of)
}

// differences is one line that names all keys whose values differ; nil if none do.
func differences(what string, old, new []*Result, of func(*Result) map[string]any) []string {
	a, b := valuesOf(old, of), valuesOf(new, of)
	keys := slices.Sorted(maps.Keys(a))
	for k := range b {
		if a[k] == "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var list []string
	for _, k := range slices.Compact(keys) {
		if a[k] != b[k] {
			list = append(list, fmt.Sprintf("%s %s and %s", k, orNone(a[k]), orNone(b[k])))
		}
	}
	if list == nil {
		return nil
	}
	return []string{"different " + what + ": " + strings.Join(list, "; ")}
}

// valuesOf are the values that each key takes in some results.
func valuesOf(results []*Result, of func(*Result) map[string]any) map[string]string {
	seen := map[string][]string{}
	for _, r := range results {
		for k, v := range of(r) {
			seen[k] = append(seen[k], settingText(v))
		}
	}
	joined := map[string]string{}
	for k, values := range seen {
		slices.Sort(values)
		joined[k] = strings.Join(slices.Compact(values), ", ")
	}
	return joined
}

// settingText writes a setting as it was given: numbers come back from a file as float64.
func settingText(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprint(int64(v))
		}
	case *int:
		if v == nil {
			return "none"
		}
		return fmt.Sprint(*v)
	}
	return fmt.Sprint(v)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
