package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-ws/penstock/bench"
)

// TestMain lets the test binary be the command: with "measure" as its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "measure" {
		os.Args = append(os.Args[:1], os.Args[2:]...)
		main()
		return
	}
	os.Exit(m.Run())
}

// command runs the command, and returns what it printed and its exit status.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"measure"}, args...)...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// Two peers, all loads: the table has both, and is the same again from the raw file.
func TestMeasure(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	raw := filepath.Join(t.TempDir(), "raw.json")
	var table, log string
	code := -1
	for _, window := range []string{"50ms", "300ms", "2s"} { // on a busy machine nothing may come back within a short one
		if table, log, code = command(t, "-peers", "penstock,gws", "-rounds", "2", "-duration", window, "-warmup", "10ms", "-idle", "50", "-json", raw); code == 0 {
			break
		}
	}
	if code != 0 {
		t.Fatalf("exit %d: %s", code, log)
	}
	for _, l := range allLoads(options{}) {
		if !strings.Contains(table, l.name[1:]) {
			t.Errorf("no %q in the table", l.name)
		}
	}
	if n := strings.Count(table, "\n| gws |"); n != 7 {
		t.Errorf("gws has %d lines, not one for each load and one in the list", n)
	}
	r, err := readReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.Partial || len(r.Runs) != 2*2*6 {
		t.Errorf("partial %v, %d runs", r.Partial, len(r.Runs))
	}
	if again, log, code := command(t, "-from", raw); code != 0 || again != table {
		t.Errorf("exit %d: %s, and another table from the raw file:\n%s", code, log, again)
	}
}

// An interrupt leaves valid files, and no process.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	raw, page := filepath.Join(dir, "raw.json"), filepath.Join(dir, "page.md")
	cmd := exec.Command(os.Args[0], "measure", "-peers", "gws", "-load", "100 connections × 1 in", "-duration", "300ms", "-warmup", "0s",
		"-rounds", "1000", "-json", raw, "-md", page)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if r, err := readReport(raw); err == nil && len(r.Runs) >= 2 {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatalf("no two runs within a minute: %s", log.String())
		}
	}
	servers := children(cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(log.String(), "partial") {
		t.Errorf("exit %d: %s", code, log.String())
	}
	for _, pid := range servers {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is still there", pid)
		}
	}
	if r, err := readReport(raw); err != nil || !r.Partial {
		t.Errorf("%+v, %v", r, err)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "Partial") || !strings.Contains(string(text), "| gws |") {
		t.Errorf("%s, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+partialSuffix)); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// children are the processes that pid has started, where /proc tells.
func children(pid int) (list []string) {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		list = append(list, strings.Fields(string(text))...)
	}
	return list
}

// Mistakes are found before anything is built, all at once.
func TestUsage(t *testing.T) {
	_, log, code := command(t, "-peers", "gws,nosuch", "-rounds", "0", "-load", "no such", "-idle", "-1", "-base", "nobody", "rest")
	if code != exitUsage {
		t.Errorf("exit %d", code)
	}
	for _, mistake := range []string{"nosuch", "-rounds 0", "no such", "-idle -1", "nobody", "rest", "melody", "fan-out"} {
		if !strings.Contains(log, mistake) {
			t.Errorf("nothing about %q in %q", mistake, log)
		}
	}
	for _, args := range [][]string{
		{"-json", "/nonexistent/raw.json"}, {"-md", "/nonexistent/page.md"}, {"-from", "/nonexistent/raw.json"},
	} {
		if _, log, code := command(t, args...); code != exitUsage || !strings.Contains(log, "/nonexistent/") {
			t.Errorf("%v: exit %d: %s", args, code, log)
		}
	}
}

// Outside the sources there is nothing to build, and that is said.
func TestElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, log, code := command(t, "-rounds", "1"); code != 1 || !strings.Contains(log, "bench/peers") {
		t.Errorf("exit %d: %s", code, log)
	}
}

// Medians are of the rounds, ratios of runs in the same round; what failed is in no
// figure and in the notes.
func TestRows(t *testing.T) {
	const load = "echo, 100 connections × 1 in flight × 128 B"
	r := &Report{Base: "gws", Peers: []PeerInfo{{Name: "gws"}, {Name: "a"}, {Name: "b"}, {Name: "c", Absent: "no such | program"}}}
	add := func(peer string, round int, cpu float64) {
		r.Runs = append(r.Runs, Run{Load: load, Peer: peer, Round: round, Result: &bench.Result{Messages: 1, ServerCPU: &cpu}})
	}
	for round, cpu := range []float64{1000, 2000, 1000} {
		add("gws", round+1, cpu)
	}
	for round, cpu := range []float64{500, 1800, 600} {
		add("a", round+1, cpu)
	}
	add("b", 4, 100) // a round that gws is not in
	r.Runs = append(r.Runs, Run{Load: load, Peer: "a", Round: 4, Error: "went\nwrong"})
	rows, unit := r.rows(load)
	if unit != "message" || len(rows) != 3 {
		t.Fatalf("%+v by %s", rows, unit)
	}
	if b, a, gws := rows[0], rows[1], rows[2]; b.peer != "b" || a.peer != "a" || gws.peer != "gws" ||
		!math.IsNaN(b.ratio) || a.cpu != 600 || a.ratio != 0.6 || gws.ratio != 1 {
		t.Errorf("%+v", rows)
	}
	page := r.page()
	for _, want := range []string{"| a | 0.60 µs | 0.60 |", "| b | 0.10 µs | – |", "not measured: no such \\| program", "a, round 4: went wrong"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// A table from a machine that was busy with other things says so.
func TestStarved(t *testing.T) {
	cpu := 0
	r := &Report{ServerCPU: &cpu, ClientCPU: &cpu}
	for _, server := range []float64{0.9, 0.3, 0.95, 0.4} {
		r.Runs = append(r.Runs, Run{Result: &bench.Result{CPU: bench.CPU{Server: server, Client: 0.35}}})
	}
	if n := r.starved(); n != 2 || !strings.Contains(r.page(), "in 2 of 4 runs") {
		t.Errorf("%d runs of %d", n, len(r.Runs))
	}
	r.Runs[1].Result.CPU.Client = 0.99
	if strings.Contains(r.page(), "busy with") {
		t.Error("a quarter of the runs is enough")
	}
}

// A result without messages, cut short or with failures is none.
func TestFlaw(t *testing.T) {
	for _, r := range []*bench.Result{
		{}, {Messages: 1, Partial: true}, {Messages: 1, Errors: 1, Failures: []bench.Failures{{Count: 1}}},
	} {
		if flaw(r) == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	if err := flaw(&bench.Result{Messages: 1}); err != nil {
		t.Error(err)
	}
}

// A fan-out is counted by delivery.
func TestServerCPU(t *testing.T) {
	message, delivery := 5000.0, 5.0
	if ns, unit := serverCPU(&bench.Result{Deliveries: 1, ServerCPU: &message, ServerCPUPerDelivery: &delivery}); ns != 5 || unit != "delivery" {
		t.Errorf("%v by %s", ns, unit)
	}
	if ns, _ := serverCPU(&bench.Result{}); !math.IsNaN(ns) {
		t.Errorf("%v without a clock", ns)
	}
}

// A raw file of another version is refused.
func TestReadReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw.json")
	for _, text := range []string{`{"schema": 99}`, `{`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readReport(path); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	want := &Report{Schema: schema, Base: "gws", Runs: []Run{{Load: idleLoad, Peer: "x", Result: &bench.Result{Memory: &bench.Memory{User: 2048}}}}}
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want)
	if b, _ := json.Marshal(got); string(a) != string(b) {
		t.Errorf("%s became %s", a, b)
	}
}

// A table takes the place of the one before, and leaves what is around it alone.
func TestWithin(t *testing.T) {
	page := "# Title\n\n" + tableBegin + "\nnew\n" + tableEnd + "\n"
	file := "# Benchmarks\n\nwords\n" + tableBegin + "\nold\n" + tableEnd + "\nmore\n"
	want := "# Benchmarks\n\nwords\n" + tableBegin + "\nnew\n" + tableEnd + "\nmore\n"
	if got := within(file, page); got != want {
		t.Errorf("got %q", got)
	}
	if got := within("anything", page); got != page {
		t.Errorf("got %q", got)
	}
}

// A file without a place for the table is not overwritten.
func TestReplaceable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	for text, ok := range map[string]bool{"": true, "notes": false, tableBegin: false, tableBegin + "x" + tableEnd: true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := replaceable(path); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := replaceable(path + "x"); err != nil {
		t.Error(err)
	}
}
