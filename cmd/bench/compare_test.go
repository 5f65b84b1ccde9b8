package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/bench"
)

// resultFile writes a file with a round for each cost of the server.
func resultFile(t *testing.T, path string, server ...float64) string {
	t.Helper()
	f := bench.NewFile()
	for i, s := range server {
		client := 2500.0
		f.Results = append(f.Results, &bench.Result{
			Name: "echo: some", Scenario: "echo", Round: i, WindowNS: 1e9, Messages: 1000, MessagesPerSecond: 1000,
			LatencyMode: bench.ClosedLoop, Latency: bench.Latency{P50: 1e5, P90: 1e5, P99: 1e5, P999: 1e5, Max: 1e5},
			ServerCPU: &s, ClientCPU: &client, Settings: map[string]any{"payload": 128},
			Series: []bench.Point{{End: 5e8, Messages: 500, Slowest: 1e5}, {End: 1e9, Messages: 500, Slowest: 1e5}},
		})
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	out, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Write(out))
	require.NoError(t, out.Close())
	return path
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	old := resultFile(t, filepath.Join(dir, "old.json"), 1000, 1010, 990)
	same := resultFile(t, filepath.Join(dir, "same.json"), 1005, 1000, 995)
	slow := resultFile(t, filepath.Join(dir, "slow.json"), 1150, 1160, 1140)

	got := run(t.Context(), "compare", old, same)
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "server CPU/message")
	require.True(t, strings.HasPrefix(lastLine(got.stdout), "No regression past 5 %"))

	got = run(t.Context(), "compare", old, slow)
	require.ErrorAs(t, got.err, new(*ComparisonError))
	require.Equal(t, 1, exitCode(t, got.err))
	require.True(t, strings.HasPrefix(lastLine(got.stdout), "REGRESSION past 5 % in 1 of 1 loads: server-cpu-adjusted +15.0 %"), got.stdout)

	for _, flags := range []string{"--threshold 20%", "--threshold 20", "--metric throughput", "--metric p99 --confidence 80%"} {
		got = run(t.Context(), append([]string{"compare", old, slow}, strings.Fields(flags)...)...)
		require.NoError(t, got.err, flags)
	}
	got = run(t.Context(), "compare", old, same, "--confidence", "95%") // three rounds do not give that
	require.Equal(t, 1, exitCode(t, got.err))
	require.True(t, strings.HasPrefix(lastLine(got.stdout), "UNDECIDED"), got.stdout)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestCompareJSON(t *testing.T) {
	dir := t.TempDir()
	old := resultFile(t, filepath.Join(dir, "old.json"), 1000, 1010, 990)
	got := run(t.Context(), "compare", old, resultFile(t, filepath.Join(dir, "slow.json"), 2000, 2000, 2000), "--json")
	require.Equal(t, 1, exitCode(t, got.err)) // all the same
	var c bench.Comparison
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &c))
	require.Equal(t, bench.VerdictRegression, c.Verdict)
	require.InDelta(t, 2, c.Loads[0].Metrics[0].Ratio, 0.01)
}

// A directory stands for its files, whose rounds are counted through.
func TestCompareDirectories(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		resultFile(t, filepath.Join(dir, "old", fmt.Sprintf("%d.json", i)), 1000)
		resultFile(t, filepath.Join(dir, "new", fmt.Sprintf("%d.json", i)), 1300)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new", "notes.txt"), []byte("no result"), 0o600))
	got := run(t.Context(), "compare", filepath.Join(dir, "old"), filepath.Join(dir, "new"))
	require.ErrorAs(t, got.err, new(*ComparisonError))
	require.Contains(t, got.stdout, "3 and 3 rounds")
	all, err := readResults(filepath.Join(dir, "new"))
	require.NoError(t, err)
	require.Equal(t, 2, all.Results[2].Round)
}

// Exit status 1 is a verdict; what could not be compared is 2, and says why.
func TestCompareUsageErrors(t *testing.T) {
	dir := t.TempDir()
	old := resultFile(t, filepath.Join(dir, "old.json"), 1000)
	broken := filepath.Join(dir, "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"schema":1,"results":[{}]}`), 0o600))
	other := filepath.Join(dir, "other.json")
	require.NoError(t, os.WriteFile(other, fmt.Appendf(nil, `{"schema":%d,"results":[{"name":"other"}]}`, bench.Schema), 0o600))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.Mkdir(empty, 0o755))
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"bench compare", "two files"}},
		{[]string{old}, []string{"old.json", "two files"}},
		{[]string{old, old, old}, []string{"two files"}},
		{[]string{old, "/nonexistent"}, []string{"/nonexistent", "no such file"}},
		{[]string{broken, old}, []string{"broken.json", "schema 1"}},
		{[]string{old, empty}, []string{"empty", "no *.json"}},
		{[]string{old, other}, []string{"no load in common", `"other"`}},
		{[]string{old, old, "--threshold", "0"}, []string{"--threshold", `"0"`, "0.1% to 1000%"}},
		{[]string{old, old, "--threshold", "NaN"}, []string{"--threshold"}},
		{[]string{old, old, "--threshold", "x%"}, []string{"--threshold"}},
		{[]string{old, old, "--confidence", "100"}, []string{"--confidence", "99.9%"}},
		{[]string{old, old, "--metric", "p98"}, []string{"--metric", `"p98"`, "p99.9"}},
		{[]string{old, old, "--mertic", "p99"}, []string{"mertic", "compare --help"}},
	} {
		got := run(t.Context(), append([]string{"compare"}, c.args...)...)
		require.ErrorAs(t, got.err, new(*UsageError), c.args)
		require.Equal(t, 2, exitCode(t, got.err), c.args)
		for _, want := range c.want {
			require.Contains(t, got.err.Error(), want, c.args)
		}
		require.Empty(t, got.stdout, c.args)
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	old := resultFile(t, filepath.Join(dir, "old.json"), 1000, 1010, 990)
	page := filepath.Join(dir, "page.html")
	got := run(t.Context(), "report", old, resultFile(t, filepath.Join(dir, "new.json"), 2000), "-o", page)
	require.NoError(t, got.err)
	require.Empty(t, got.stdout)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"<title>Benchmark of old, new</title>", "2,000 ns", "1,000 ns", "echo: some"} {
		require.Contains(t, string(text), want)
	}
	got = run(t.Context(), "report", old, "-o", page, "--title", "A & B")
	require.NoError(t, got.err)
	text, err = os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "<h1>A &amp; B</h1>")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3) // nothing half written
	require.NoError(t, run(t.Context(), "report", old, "-o", os.DevNull).err)
}

func TestReportUsageErrors(t *testing.T) {
	dir := t.TempDir()
	old := resultFile(t, filepath.Join(dir, "old.json"), 1000)
	for args, want := range map[string]string{
		"report":                               "files of results",
		"report /nonexistent":                  "no such file",
		"report " + old + " -o /nonexistent/x": "/nonexistent/x",
		"report " + old + " -o " + dir:         "directory",
	} {
		got := run(t.Context(), strings.Fields(args)...)
		require.ErrorAs(t, got.err, new(*UsageError), args)
		require.ErrorContains(t, got.err, want, args)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// Files are called by what tells them apart.
func TestLabels(t *testing.T) {
	require.Equal(t, []string{"a", "b"}, labelsOf([]string{"x/a.json", "y/b/"}))
	require.Equal(t, []string{"x/a.json", "y/a.json"}, labelsOf([]string{"x/a.json", "y/a.json"}))
}
