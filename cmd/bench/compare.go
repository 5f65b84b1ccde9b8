package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

const compareLong = `Compare what two builds cost, load by load: the ratio of new to old in each
figure, with a confidence interval. The exit status is 1 if the new build is
worse past the threshold, or if that cannot be told because its runs failed or
the figure is missing; 2 if there was nothing to compare.

A load is judged by its server's CPU per message, adjusted by what the client
spent on the same messages: that tells how fast the machine was at the time.
--metric names another figure to judge by.

A directory stands for all *.json files in it. Runs that alternate between the
two builds are compared best, seven or more of each:

  for i in 1 2 3 4 5 6 7; do
    ./old bench echo --json old/$i.json
    ./new bench echo --json new/$i.json
  done
  penstock bench compare old new`

func newCompareCommand() *cobra.Command {
	var c bench.CompareConfig
	c.Threshold, c.Confidence = bench.DefaultThreshold, bench.DefaultConfidence
	asJSON := false
	cmd := &cobra.Command{
		Use:           "compare OLD NEW",
		Short:         "Compare two files of results; exit status 1 on a regression",
		Long:          compareLong,
		Example:       "  penstock bench compare old.json new.json --threshold 10%\n  penstock bench compare old/ new/ --metric p99",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return &UsageError{cmd.CommandPath(), strings.Join(args, " "), "two files of results, or directories of them"}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return compare(cmd.OutOrStdout(), args[0], args[1], c, asJSON)
		},
	}
	cmd.SetFlagErrorFunc(flagError)
	f := cmd.Flags()
	f.Var(percentage{&c.Threshold, 0.001, 10}, "threshold", "change for the worse from which on one is a regression")
	f.Var(percentage{&c.Confidence, 0.5, 0.999}, "confidence", "of the intervals; 95% takes four rounds on each side")
	f.Var(metric{&c.Metric}, "metric", "figure to judge by (default: server-cpu-adjusted, or what is known)")
	f.BoolVar(&asJSON, "json", false, "print the comparison as JSON")
	return cmd
}

// compare prints the comparison; a verdict that should stop a build is an error.
func compare(out io.Writer, oldPath, newPath string, c bench.CompareConfig, asJSON bool) error {
	old, oldErr := readResults(oldPath)
	new, newErr := readResults(newPath)
	if err := errors.Join(oldErr, newErr); err != nil {
		return err
	}
	comparison, err := bench.Compare(old, new, c)
	if err != nil {
		return &UsageError{oldPath + " " + newPath, "", fmt.Sprintf("files that can be compared (%v)", err)}
	}
	if asJSON {
		text, err := json.MarshalIndent(comparison, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", text)
	} else if err := comparison.WriteTable(out); err != nil {
		return err
	}
	if !comparison.Passes() {
		return &ComparisonError{comparison.Verdict}
	}
	return nil
}

// ComparisonError is a comparison that should stop a build; it has been printed.
type ComparisonError struct{ Verdict bench.Verdict }

// Error names the verdict.
func (e *ComparisonError) Error() string { return "comparison: " + e.Verdict.String() }

// readResults reads a file, or all of a directory. What cannot be read is wrong usage: exit
// status 1 is kept for what was compared.
func readResults(path string) (*bench.File, error) {
	paths, err := resultPaths(path)
	if err != nil {
		return nil, &UsageError{path, "", fmt.Sprintf("a file of results, or a directory of them (%v)", err)}
	}
	all := bench.NewFile()
	rounds := map[string]int{}
	for _, p := range paths {
		f, err := bench.ReadFile(p)
		if err != nil {
			return nil, &UsageError{p, "", fmt.Sprintf("a file of results (%v)", err)}
		}
		for _, r := range f.Results {
			if len(paths) > 1 { // each counts its own from 0
				r.Round = rounds[r.Name]
				rounds[r.Name]++
			}
			all.Results = append(all.Results, r)
		}
	}
	return all, nil
}

// resultPaths are the files that path stands for.
func resultPaths(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".json") {
			paths = append(paths, path+string(os.PathSeparator)+e.Name())
		}
	}
	if paths == nil {
		return nil, errors.New("no *.json in it")
	}
	return paths, nil
}

// percentage is a flag that takes a share, in percent.
type percentage struct {
	p         *float64
	low, high float64
}

func (v percentage) Type() string { return "percent" }

func (v percentage) Allowed() string {
	return fmt.Sprintf("percent such as 5%%, from %.4g%% to %.4g%%", 100*v.low, 100*v.high)
}

func (v percentage) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatFloat(100**v.p, 'g', 4, 64) + "%"
}

func (v percentage) Set(s string) error {
	x, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if x /= 100; err != nil || !(v.low <= x && x <= v.high) {
		return flagvalue.ErrNotAllowed
	}
	*v.p = x
	return nil
}

// metric is a flag that takes a bench.Metric; none until it is given.
type metric struct{ p *bench.Metric }

func (v metric) Type() string { return "metric" }

func (v metric) Allowed() string {
	names := make([]string, 0, len(bench.Metrics()))
	for _, m := range bench.Metrics() {
		names = append(names, m.String())
	}
	return "one of " + strings.Join(names, ", ")
}

func (v metric) String() string {
	if v.p == nil || !slices.Contains(bench.Metrics(), *v.p) {
		return ""
	}
	return v.p.String()
}

func (v metric) Set(s string) error {
	if v.p.UnmarshalText([]byte(s)) != nil {
		return flagvalue.ErrNotAllowed
	}
	return nil
}
