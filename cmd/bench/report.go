package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/bench"
)

const reportLong = `Make one HTML page of files of results: a summary, latency percentiles, the
course of throughput, latency, CPU and memory, the settings and the machine.

Loads of the same name are drawn into the same figures, a colour for each file
and a line for each round, so that files can be compared by eye. A directory
stands for all *.json files in it, as one. The page needs no network.`

func newReportCommand() *cobra.Command {
	var output, title string
	cmd := &cobra.Command{
		Use:           "report FILE...",
		Short:         "Make an HTML page of files of results",
		Long:          reportLong,
		Example:       "  penstock bench report echo.json -o echo.html\n  penstock bench report old.json new.json -o both.html --title \"Before and after\"",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return nil
			}
			return &UsageError{cmd.CommandPath(), "", "files of results, or directories of them"}
		},
		RunE: func(_ *cobra.Command, args []string) error { return report(output, title, args) },
	}
	cmd.SetFlagErrorFunc(flagError)
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "report.html", "file to write the page to")
	f.StringVar(&title, "title", "", "headline (default: the files' names)")
	return cmd
}

// report writes the page of the files.
func report(output, title string, paths []string) error {
	var files []bench.ReportFile
	labels := labelsOf(paths)
	for i, p := range paths {
		f, err := readResults(p)
		if err != nil {
			return err
		}
		files = append(files, bench.ReportFile{Label: labels[i], File: f})
	}
	if title == "" {
		title = "Benchmark of " + strings.Join(labels, ", ")
	}
	var page bytes.Buffer
	if err := bench.WriteHTML(&page, title, files...); err != nil {
		return err
	}
	if err := writeWhole(output, page.Bytes()); err != nil {
		return &UsageError{"--output", output, fmt.Sprintf("a file that can be written (%v)", err)}
	}
	return nil
}

// labelsOf are the paths without what they have in common: directory and suffix, unless
// two would be the same.
func labelsOf(paths []string) []string {
	short := make([]string, len(paths))
	seen := map[string]bool{}
	for i, p := range paths {
		short[i] = strings.TrimSuffix(filepath.Base(filepath.Clean(p)), ".json")
		if seen[short[i]] {
			return paths
		}
		seen[short[i]] = true
	}
	return short
}

// writeWhole replaces a file by a whole one or not at all.
func writeWhole(path string, text []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, text, 0o644) // a device or a pipe
	}
	if err := os.WriteFile(path+partialSuffix, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(path+partialSuffix, path); err != nil {
		_ = os.Remove(path + partialSuffix)
		return err
	}
	return nil
}
