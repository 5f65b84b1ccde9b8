package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

const tuneLong = `Look for the settings that suit a load: one setting after the other is tried with
several values, in rounds that interleave them, against servers of its own. A value
is chosen if the server's CPU per message is lower in all likelihood, and by more
than 3 %; else the setting stays as it is, and that it makes no difference is said.

The load is an echo with the flags below, or a --profile as for "bench mixed". At the
end stand the settings to use, as environment variables and as an engine.Config. It
takes less than three minutes.`

// knob is a setting to try.
type knob struct {
	name   string   // of the variable; "inline" is a flag
	field  string   // of engine.Config
	values []string // the first is the default
	why    func(l tuneLoad) string
}

// tuneLoad is what a knob asks of a load.
type tuneLoad struct {
	largest int  // payload
	inline  bool // chosen already
}

// knobs are the settings in the order in which they are tried.
func knobs() []knob {
	workers := 16 * runtime.GOMAXPROCS(0)
	return []knob{
		{name: "WS_IO", field: "IO", values: []string{"goroutine", "epoll"},
			why: func(tuneLoad) string { return unless(runtime.GOOS == "linux", "event loops are Linux's") }},
		{name: "inline", field: "Endpoint.Inline", values: []string{"false", "true"}},
		{name: "WS_SEND_CHUNK_BYTES", field: "SendChunkBytes", values: []string{"65536", "16384", "262144", "1048576"},
			why: func(l tuneLoad) string {
				return unless(l.largest > 16384, "no message is larger than the smallest chunk")
			}},
		{name: "WS_CORK_BYTES", field: "CorkBytes", values: []string{"16384", "4096", "65536"}},
		{name: "WS_READ_BUFFER_BYTES", field: "ReadBufferBytes", values: []string{"32768", "8192", "131072"}},
		{name: "WS_HIGH_WATER_BYTES", field: "HighWaterBytes", values: []string{"1048576", "262144", "4194304"}},
		{name: "WS_WORKERS", field: "Workers", values: []string{strconv.Itoa(workers), strconv.Itoa(runtime.GOMAXPROCS(0)), strconv.Itoa(8 * workers)},
			why: func(l tuneLoad) string { return unless(!l.inline, "handlers that run inline need no workers") }},
	}
}

// inGo are the values that a Config does not have as they are.
var inGo = map[string]string{"epoll": "engine.IOLoops"}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

// tuner is a run of tune.
type tuner struct {
	knobs    []knob
	scenario scenario
	largest  int
	compress bool
	rounds   int
	command  command // what starts servers and measures
	chosen   map[string]string
	results  []*bench.Result
	out      io.Writer
}

func newTuneCommand(list []knob) *cobra.Command {
	s := bench.Echo{Connections: 100, PayloadBytes: 128}
	var profile string
	t := &tuner{knobs: list, chosen: make(map[string]string)}
	a := &t.command
	cmd := &cobra.Command{
		Use: "tune", Short: "Look for the settings that suit a load", Long: tuneLong, Args: noArgs, SilenceUsage: true, SilenceErrors: true,
		Example: "  penstock bench tune --payload 200000 --connections 50\n  penstock bench tune --profile shop.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop)
			if err := t.prepare(s, profile); err != nil {
				return err
			}
			if !a.quiet {
				a.terminal = terminal(cmd.ErrOrStderr())
			}
			t.out = cmd.OutOrStdout()
			return t.run(ctx)
		},
	}
	t.addFlags(cmd.Flags(), &s, &profile)
	return cmd
}

// addFlags adds the flags of tune, which leave the load in s and profile.
func (t *tuner) addFlags(f *pflag.FlagSet, s *bench.Echo, profile *string) {
	a := &t.command
	f.Var(flagvalue.Number(&s.Connections, 1, bench.MaxConnections), "connections", "connections")
	f.Var(flagvalue.Number(&s.InFlight, 1, bench.MaxInFlight), "pipeline", "messages in flight on each connection")
	showPipeline(f, *s)
	f.Var(flagvalue.Number(&s.PayloadBytes, 1, bench.MaxPayload), "payload", "bytes of each message")
	f.BoolVar(&s.Text, "text", false, "send text messages instead of binary ones")
	f.BoolVar(&s.Compress, "compress", false, "compress messages (permessage-deflate)")
	f.Var(rate{&s.Pace.Rate}, "rate", "open loop: messages per second over all connections")
	f.StringVar(profile, "profile", "", "JSON file that says what to send, instead")
	t.rounds = 4
	f.Var(flagvalue.Number(&t.rounds, 3, 1000), "rounds", "how often each value is measured")
	s.Duration = 700 * time.Millisecond
	f.Var(flagvalue.Span(&s.Duration, time.Millisecond, bench.MaxDuration, ""), "duration", "time in which messages are counted, each time")
	f.StringVar(&a.json, "json", "", "file to write all results to, as JSON")
	f.Var(cpu{&a.serverCPU}, "server-cpu", "the CPU to pin servers to")
	f.Var(cpu{&a.clientCPU}, "client-cpu", "CPU to pin the client to")
	f.BoolVar(&a.quiet, "quiet", false, "no progress bar")
}

// prepare settles what is sent.
func (t *tuner) prepare(s bench.Echo, profile string) error {
	s.Warmup = s.Duration / 4
	t.scenario, t.largest, t.compress = s, s.PayloadBytes, s.Compresses()
	if profile != "" {
		m, err := bench.ReadProfile(profile)
		if err != nil {
			return &UsageError{"--profile", "", err.Error()}
		}
		m.Warmup, m.Duration = s.Warmup, s.Duration
		t.scenario, t.largest, t.compress = m, 0, m.Compresses()
		for _, g := range m.Groups {
			t.largest = max(t.largest, g.PayloadBytes)
		}
	}
	return configError(t.scenario.Validate())
}

// run tries all knobs, and tells what to use.
func (t *tuner) run(ctx context.Context) error {
	file, err := createFile(t.command.json)
	if err != nil {
		return err
	}
	defer file.discard()
	if cpu := t.command.clientCPU; cpu != nil {
		if err := bench.Pin(*cpu); err != nil {
			return err
		}
	}
	err = t.tryAll(ctx)
	if len(t.results) > 0 {
		err = errors.Join(err, file.write(bench.NewFile(t.results...)))
	}
	if err != nil {
		return err
	}
	return t.advise()
}

func (t *tuner) tryAll(ctx context.Context) error {
	for _, k := range t.knobs {
		if k.why != nil {
			if why := k.why(tuneLoad{t.largest, t.chosen["inline"] == "true"}); why != "" {
				fmt.Fprintf(t.out, "%s: not tried, %s.\n\n", k.name, why)
				continue
			}
		}
		if err := t.try(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// trial is what one value of a knob has measured, round by round.
type trial struct {
	value   string
	results []*bench.Result
	ratio   ratio // of its cost to that of the value in force
}

// try measures the values of one knob, and chooses.
func (t *tuner) try(ctx context.Context, k knob) error {
	trials := make([]trial, len(k.values))
	for round := range t.rounds {
		for i, value := range k.values {
			label := fmt.Sprintf("%s=%s, round %d of %d", k.name, value, round+1, t.rounds)
			r, err := t.measure(ctx, k.name, value, label)
			if r != nil {
				r.Round = round
				t.results = append(t.results, r)
			}
			switch {
			case ctx.Err() != nil:
				return &InterruptedError{Measured: len(t.results) > 0}
			case err != nil:
				return configError(err)
			case r.Errors > 0:
				return fmt.Errorf("with %s=%s %d connections failed; first (%v): %s", k.name, value, r.Errors, r.Failures[0].Kind, r.Failures[0].First)
			case r.Messages == 0:
				return fmt.Errorf("with %s=%s not one message came back in time: give it more, with --duration", k.name, value)
			case r.ServerCPU == nil:
				return errors.New("the server's CPU time cannot be read on this system, and nothing else is steady enough to tune by")
			}
			trials[i].value, trials[i].results = value, append(trials[i].results, r)
		}
	}
	for i := range trials {
		trials[i].ratio = ratioOf(trials[0].results, trials[i].results)
	}
	best := choose(trials)
	if best > 0 {
		t.chosen[k.name] = trials[best].value
	}
	return t.tell(k, trials, best)
}

// measure runs the load against a server with what has been chosen, and one value.
func (t *tuner) measure(ctx context.Context, name, value, label string) (*bench.Result, error) {
	a := t.command
	set := func(name, value string) {
		if name == "inline" {
			a.inline = value == "true"
		} else {
			a.set = append(a.set, name+"="+value)
		}
	}
	for name, value := range t.chosen {
		set(name, value)
	}
	set("MAX_WS_MESSAGE_BYTES", strconv.Itoa(t.limit()))
	set(name, value)
	w := work{scenario: t.scenario, name: "tune", filter: "echo_messages"}
	if t.compress {
		w.args = []string{"--compress"}
	}
	r, err := a.measure(ctx, w, label)
	if r != nil {
		a.addSettings(r, w)
	}
	return r, err
}

// limit is the largest message, rounded up to a power of two.
func (t *tuner) limit() int { return 1 << bits.Len(uint(max(t.largest, 1024)-1)) }

// least is by how much a value must be better to be chosen.
const least = 0.97

// choose returns the value that is better than the first in all likelihood and by
// enough, and the best of those; 0 if there is none.
func choose(trials []trial) (best int) {
	for i, tr := range trials[1:] {
		if tr.ratio.high < 1 && tr.ratio.mean < least && (best == 0 || tr.ratio.mean < trials[best].ratio.mean) {
			best = i + 1
		}
	}
	return best
}

// ratio is how many times as much one thing costs as another, with the interval in
// which that lies with a probability of 95 %.
type ratio struct{ mean, low, high float64 }

// ratioOf compares CPU per message in rounds that were measured side by side: the
// mean of the logarithms, with Student's t.
func ratioOf(old, new []*bench.Result) ratio {
	n := float64(len(new))
	var sum, squares float64
	for i := range new {
		x := math.Log(*new[i].ServerCPU / *old[i].ServerCPU)
		sum += x
		squares += x * x
	}
	mean := sum / n
	half := student(len(new)-1) * math.Sqrt(max(0, squares-n*mean*mean)/(n-1)/n)
	return ratio{math.Exp(mean), math.Exp(mean - half), math.Exp(mean + half)}
}

// student is the two-sided 95 % quantile of the t distribution.
func student(freedom int) float64 {
	table := []float64{12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	return 1.96 + 2.5/float64(freedom)
}

// tell writes the curve behind a choice.
func (t *tuner) tell(k knob, trials []trial, best int) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\tCPU/message\tratio\t95 %%\tmessages/s\tp99\t\n", k.name)
	for i, tr := range trials {
		mark := ""
		if i == best {
			mark = "*"
		}
		fmt.Fprintf(w, "%s%s\t%.2f µs\t%.2f\t%.2f to %.2f\t%.0f\t%v\t\n", mark, tr.value,
			middle(tr.results, func(r *bench.Result) float64 { return *r.ServerCPU })/1e3,
			tr.ratio.mean, tr.ratio.low, tr.ratio.high,
			middle(tr.results, func(r *bench.Result) float64 { return r.MessagesPerSecond }),
			time.Duration(middle(tr.results, func(r *bench.Result) float64 { return float64(r.Latency.P99) })).Round(time.Microsecond))
	}
	w.Flush()
	if best == 0 {
		text.WriteString(stays(trials) + "\n")
	}
	_, err := io.WriteString(t.out, text.String()+"\n")
	return err
}

// stays says why a knob keeps its default.
func stays(trials []trial) string {
	for _, tr := range trials[1:] {
		if tr.ratio.low > 1 || tr.ratio.high < 1 {
			return "At least one differs, but none better by 3 %: it stays at its default."
		}
	}
	return "No measurable difference: it stays at its default."
}

func middle(results []*bench.Result, f func(*bench.Result) float64) float64 {
	var list []float64
	for _, r := range results {
		list = append(list, f(r))
	}
	slices.Sort(list)
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
}

// advise writes the settings to use.
func (t *tuner) advise() error {
	var env, config strings.Builder
	fmt.Fprintf(&env, "MAX_WS_MESSAGE_BYTES=%d\n", t.limit())
	fmt.Fprintf(&config, "\tMaxMessageBytes: %d, // the largest message of the load is %d\n", t.limit(), t.largest)
	for _, k := range t.knobs {
		value, ok := t.chosen[k.name]
		switch {
		case !ok:
		case k.name == "inline":
			fmt.Fprint(&env, "# and the flag --inline of penstock serve\n")
			fmt.Fprint(&config, "\t// and Endpoint.Inline: true, for handlers that never wait\n")
		default:
			fmt.Fprintf(&env, "%s=%s\n", k.name, value)
			fmt.Fprintf(&config, "\t%s: %s,\n", k.field, cmp.Or(inGo[value], value))
		}
	}
	_, err := fmt.Fprintf(t.out, "To use, for the server (what is not named stays at its default):\n\n%s\nor in Go:\n\nengine.Config{\n%s}\n", &env, &config)
	return err
}
