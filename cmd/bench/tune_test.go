package bench

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/engine"
)

// costing returns rounds in which a message cost about so much, as noisy as they are
// on a shared machine: what befalls a round befalls all values in it.
func costing(random *rand.Rand, cost float64, machine []float64) (list []*bench.Result) {
	for _, m := range machine {
		x := cost * m * (1 + 0.01*random.NormFloat64())
		list = append(list, &bench.Result{ServerCPU: &x})
	}
	return list
}

// A value that is better is chosen, one that is not is not, whatever the machine does.
// The noise is the same each time: with other noise one in 500 of the values that are 1 %
// better would be taken for 3 %, as the test's own confidence has it.
func TestTuneChooses(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	right, wrong, slight := 0, 0, 0
	for range 200 {
		machine := make([]float64, 4)
		for i := range machine {
			machine[i] = math.Exp(0.5 * random.NormFloat64())
		}
		base := costing(random, 1, machine)
		trials := []trial{{ratio: ratioOf(base, base)}}
		for _, cost := range []float64{0.99, 0.85, 1.2} {
			trials = append(trials, trial{ratio: ratioOf(base, costing(random, cost, machine))})
		}
		switch choose(trials) {
		case 2:
			right++
		case 0:
		default:
			wrong++
		}
		slight += choose(trials[:2])
	}
	require.Zero(t, wrong)
	require.Greater(t, right, 190)
	require.LessOrEqual(t, slight, 4, "1 % is not enough")
}

func TestRatio(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	machine := []float64{1, 2, 3, 4, 5}
	within := 0
	for range 1000 {
		got := ratioOf(costing(random, 1, machine), costing(random, 2, machine))
		require.InDelta(t, 2, got.mean, 0.1)
		if got.low < 2 && 2 < got.high {
			within++
		}
	}
	require.InDelta(t, 950, within, 25, "intervals of 95 %")
	require.InDelta(t, 2.228, student(10), 0.001)
	require.InDelta(t, 2.086, student(20), 0.01)
	require.InDelta(t, 1.96, student(100000), 0.001)
}

// What is said of a knob that stays as it is follows from the intervals.
func TestTuneVerdict(t *testing.T) {
	same, worse, better := ratio{1, 1, 1}, ratio{1.3, 1.2, 1.4}, ratio{0.98, 0.97, 0.99}
	for want, ratios := range map[string][]ratio{
		"No measurable difference": {same, {1.01, 0.9, 1.2}},
		"but none better by 3 %":   {same, worse, {1, 0.9, 1.1}},
		"one differs, but none":    {same, better},
	} {
		var trials []trial
		for _, r := range ratios {
			trials = append(trials, trial{ratio: r})
		}
		require.Contains(t, stays(trials), want)
	}
}

// Every knob is a variable of the engine and a field of its Config, and the first
// value is what that has by itself.
func TestKnobs(t *testing.T) {
	for _, k := range knobs() {
		if k.name == "inline" {
			continue
		}
		require.Contains(t, engine.EnvNames(), k.name)
		source, err := os.ReadFile("../../engine/config.go")
		require.NoError(t, err)
		require.Regexp(t, `(?m)^\t`+k.field+` +(int|IO)$`, string(source))
		for _, v := range k.values {
			t.Setenv(k.name, v)
			c, err := engine.ConfigFromEnv()
			require.NoError(t, err)
			require.NoError(t, c.Validate())
		}
		t.Setenv(k.name, "")
	}
}

// The whole way: every value is measured in every round, the file has all of it, and
// what to use is said.
func TestTune(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // TestTuneUnknown is all that there is
	}
	child := record(t)
	file := filepath.Join(t.TempDir(), "tune.json")
	list := []knob{knobs()[1], knobs()[2], knobs()[6]}
	list[1].values, list[2].values = list[1].values[:2], list[2].values[:2]
	list[2].why = func(tuneLoad) string { return "for a reason" }
	got := runCommand(t.Context(), newTuneCommand(list), "--connections", "2", "--rounds", "3", "--duration", "300ms", "--json", file, "--payload", "70000")
	require.NoError(t, got.err, got.stdout)
	args, _ := child()
	require.Contains(t, args, "serve --host 127.0.0.1")
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, f.Results, 3*2*2)
	require.Equal(t, "131072", f.Results[0].Settings["MAX_WS_MESSAGE_BYTES"])
	require.Equal(t, true, f.Results[1].Settings["inline"])
	require.Equal(t, "16384", f.Results[7].Settings["WS_SEND_CHUNK_BYTES"])
	require.Contains(t, got.stdout, "WS_SEND_CHUNK_BYTES  CPU/message")
	require.Contains(t, got.stdout, "WS_WORKERS: not tried, for a reason.")
	require.Contains(t, got.stdout, "\nMAX_WS_MESSAGE_BYTES=131072\n")
	require.Contains(t, got.stdout, "\tMaxMessageBytes: 131072, // the largest message of the load is 70000\n")
}

func TestTuneInterrupted(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "tune.json")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	got := run(ctx, "tune", "--connections", "2", "--duration", "300ms", "--json", file)
	require.ErrorAs(t, got.err, new(*InterruptedError))
	_, pid := child()
	requireGone(t, pid)
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.NotEmpty(t, f.Results)
}
