package bench

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

// named is a scenario by its name.
type named struct {
	name, short string
	command     func() *cobra.Command
}

// scenarios are all that there are, in the order in which a reader wants them.
func scenarios() []named {
	list := []named{}
	for _, e := range echoes {
		list = append(list, named{e.name, e.short, e.command})
	}
	return append(list,
		named{"fanout", fanoutShort, newFanoutCommand},
		named{"idle", idleShort, newIdleCommand},
		named{"storm", stormShort, newStormCommand},
		named{"mixed", mixedShort, newMixedCommand},
	)
}

// load is where the flags that most scenarios have leave their values.
type load struct {
	connections, inFlight, payload *int
	text                           *bool
	duration, warmup               *time.Duration
}

// addFlags adds them; sender says who keeps messages in flight.
func (l load) addFlags(f *pflag.FlagSet, sender string) {
	f.Var(flagvalue.Number(l.connections, 1, bench.MaxConnections), "connections", "connections")
	f.Var(flagvalue.Number(l.inFlight, 1, bench.MaxInFlight), "pipeline", "messages in flight "+sender)
	f.Var(flagvalue.Number(l.payload, 1, bench.MaxPayload), "payload", "bytes of each message")
	f.BoolVar(l.text, "text", *l.text, "send text messages instead of binary ones")
	addTime(f, l.duration, l.warmup)
}

func addTime(f *pflag.FlagSet, duration, warmup *time.Duration) {
	f.Var(flagvalue.Span(duration, time.Millisecond, bench.MaxDuration, ""), "duration", "time in which messages are counted")
	f.Var(flagvalue.Span(warmup, 0, bench.MaxDuration, ""), "warmup", "time before it in which they are not")
}

// echoKind is one of the scenarios that are bench.Echo with defaults of its own.
type echoKind struct {
	name, short, long string
	filter            string // "": echo_messages
	defaults          bench.Echo
	rounds            int
}

const (
	closedText = `Latency is closed-loop: the time of a message at the pace that the server
itself allowed. A server that stalls slows the load down and is not charged
for the messages that were never sent meanwhile.`

	openText = `Messages are due at times of their own, whatever the server does, and latency
counts from when each was due: a server that stalls is charged for everything
that clients would have sent meanwhile.`

	besideText = `Every round begins with a control run without those peers, so that what they
change for the others can be seen. What they do themselves is no failure.`
)

var echoes = []echoKind{
	{name: "echo", short: "Echo in a closed loop: throughput, latency, CPU per message",
		long: "Measure an echo server: each connection keeps a number of messages under way\n" +
			"and sends the next one when a reply has come. Every reply is checked.\n\n" + closedText,
		defaults: bench.Echo{Connections: 100, Duration: 5 * time.Second}},
	{name: "rate", short: "Echo at a rate of its own: latency that hides no stall",
		long:     "Measure an echo server in an open loop. " + openText,
		defaults: bench.Echo{Connections: 100, Pace: bench.Pace{Rate: 5000, Poisson: true}, Duration: 5 * time.Second}},
	{name: "large", short: "Large messages: 1 MiB, two in flight on eight connections",
		long: "Measure how large messages are echoed. The server sends them in chunks; compare\n" +
			"their sizes with --set WS_SEND_CHUNK_BYTES=... or have \"bench tune\" choose.\n\n" + closedText,
		defaults: bench.Echo{Connections: 8, InFlight: 2, PayloadBytes: 1 << 20, Duration: 5 * time.Second}},
	{name: "stream", short: "Messages that the server streams from a reader, of 1 MiB",
		long: "Measure a server that answers through SendStream, which reads a message piece by\n" +
			"piece from an io.Reader and waits for the peer between pieces.\n\n" + closedText,
		filter:   "stream_messages",
		defaults: bench.Echo{Connections: 8, InFlight: 2, PayloadBytes: 1 << 20, Duration: 5 * time.Second}},
	{name: "compress", short: "Compressed text (permessage-deflate), 1 KiB of JSON",
		long:     "Measure an echo server with messages that are compressed in both directions.\n\n" + closedText,
		defaults: bench.Echo{Connections: 100, PayloadBytes: 1 << 10, Text: true, Compress: true, Duration: 5 * time.Second}},
	besideEcho("slow", "An echo load beside peers that send and never read", bench.HostileUnread, 20),
	besideEcho("halfopen", "An echo load beside peers that have gone without a word", bench.HostileSilent, 1000),
	besideEcho("reset", "An echo load beside peers that reset in the middle of a message", bench.HostileReset, 10),
	besideEcho("fragments", "An echo load beside floods of empty fragments", bench.HostileFragments, 5),
	besideEcho("pings", "An echo load beside floods of pings, unread", bench.HostilePings, 5),
	besideEcho("announce", "An echo load beside announced messages that do not come", bench.HostileAnnounce, 1000),
	besideEcho("bomb", "An echo load beside compression bombs of 1 GiB", bench.HostileBomb, 1),
	besideEcho("drip", "An echo load beside handshakes of a byte at a time", bench.HostileDrip, 200),
}

func besideEcho(name, short string, kind bench.HostileKind, count int) echoKind {
	return echoKind{name: name, short: short, rounds: 3, long: short + ", in an open loop.\n" + openText + "\n\n" + besideText,
		defaults: bench.Echo{
			Connections: 50, Pace: bench.Pace{Rate: 2000}, Beside: []bench.Hostile{{Kind: kind, Count: count}},
			Warmup: 300 * time.Millisecond, Duration: 1500 * time.Millisecond,
		}}
}

const ownServer = "\n\nWithout --url a server is started for each run and its CPU time is measured."

func (k echoKind) command() *cobra.Command {
	s := k.defaults
	if s.PayloadBytes == 0 {
		s.PayloadBytes = 128
	}
	if s.Warmup == 0 {
		s.Warmup = time.Second
	}
	beside := s.Beside
	s.Beside = nil // until it is known whether others are wanted
	a := &command{name: k.name}
	a.works = func() ([]work, error) {
		if len(s.Beside) == 0 {
			s.Beside = beside
		}
		return k.works(s), nil
	}
	cmd := a.build(&cobra.Command{
		Short:   k.short,
		Long:    k.long + ownServer,
		Example: "  penstock bench " + k.name + " --connections 1000 --inline\n  penstock bench " + k.name + " --url ws://127.0.0.1:9000/ --json " + k.name + ".json",
	})
	f := cmd.Flags()
	if k.rounds > 0 {
		a.rounds = k.rounds
		f.Lookup("rounds").DefValue = f.Lookup("rounds").Value.String()
	}
	k.addFlags(f, &s)
	f.Lookup("beside").DefValue = hostiles{&beside}.String()
	return cmd
}

// addFlags adds those that concern the load, with what is in s as defaults.
func (k echoKind) addFlags(f *pflag.FlagSet, s *bench.Echo) {
	load{&s.Connections, &s.InFlight, &s.PayloadBytes, &s.Text, &s.Duration, &s.Warmup}.addFlags(f, "on each connection")
	showPipeline(f, *s)
	f.BoolVar(&s.Compress, "compress", s.Compress, "compress messages (permessage-deflate)")
	f.Var(rate{&s.Pace.Rate}, "rate", "open loop: messages per second over all connections")
	f.Var(rate{&s.Pace.To}, "rate-to", "rate at the end of the run, approached evenly (default: --rate)")
	f.BoolVar(&s.Pace.Poisson, "poisson", s.Pace.Poisson, "with --rate: at random times")
	f.Var(hostiles{&s.Beside}, "beside", "peers that behave badly meanwhile, like bomb=10; may be repeated")
}

// showPipeline has the help say what the default is when it depends on the rate.
func showPipeline(f *pflag.FlagSet, s bench.Echo) {
	switch {
	case s.InFlight != 0:
	case s.Pace.Rate != 0:
		f.Lookup("pipeline").DefValue = "64"
	default:
		f.Lookup("pipeline").DefValue = "1, with --rate 64"
	}
}

// works are a load and, if there are hostile peers beside it, a control without them
// before it. Both have the same server.
func (k echoKind) works(s bench.Echo) (list []work) {
	w := work{scenario: s, name: k.name, filter: "echo_messages"}
	if k.filter != "" { // with a name of its own, or it would be taken for an echo of the same load
		w.filter, w.title = k.filter, k.name
	}
	if s.Compresses() {
		w.args = []string{"--compress"}
	}
	if len(s.Beside) > 0 {
		control := w
		alone := s
		alone.Beside = nil
		control.scenario, control.name = alone, k.name+", control"
		list = append(list, control)
	}
	return append(list, w)
}

const fanoutShort = "Fan-out in a closed loop: throughput, latency, CPU per delivery"

const fanoutLong = `Measure a server that sends every message to all of its connections: one
connection keeps a number of messages under way, and sends the next one when
all connections, itself included, have received one. Every delivery is checked.

Latency is that of each delivery at each connection, closed-loop: at the pace
that the server itself allowed.

--rooms spreads the connections among rooms, each with a sender of its own, by a query
parameter "token" that is the same for all of a room.

--stalled adds connections that shake hands and never read. Nothing waits for
them: how little they change the figures of the others is what they are for.

Without --url a server is started for the run and its CPU time is measured. A
server that is named must have no other clients.`

func newFanoutCommand() *cobra.Command {
	s := &bench.Fanout{
		Connections: 1000, InFlight: 1, PayloadBytes: 128, Warmup: time.Second, Duration: 5 * time.Second,
	}
	a := &command{name: "fanout", works: func() ([]work, error) {
		filter := "broadcast_messages"
		if s.Rooms > 0 {
			filter = "broadcast_messages_by_token"
		}
		return []work{{scenario: s, name: "fanout", filter: filter}}, nil
	}}
	cmd := a.build(&cobra.Command{
		Short:   fanoutShort,
		Long:    fanoutLong,
		Example: "  penstock bench fanout --pipeline 16\n  penstock bench fanout --connections 100 --stalled 1 --json fanout.json",
	})
	load{&s.Connections, &s.InFlight, &s.PayloadBytes, &s.Text, &s.Duration, &s.Warmup}.addFlags(cmd.Flags(), "from the one that sends")
	cmd.Flags().Var(flagvalue.Number(&s.Rooms, 0, bench.MaxConnections), "rooms", "rooms among which the connections are spread, with a sender each (default one of all)")
	cmd.Flags().Var(flagvalue.Number(&s.Stalled, 0, bench.MaxConnections), "stalled", "further connections, which never read (default 0)")
	return cmd
}

// one is the works of a command that measures one thing.
func one(w work) func() ([]work, error) {
	return func() ([]work, error) { return []work{w}, nil }
}

const idleShort = "Idle connections: memory of each, in the server and the kernel"

func newIdleCommand() *cobra.Command {
	s := &bench.Idle{Connections: 5000, Settle: 2 * time.Second}
	a := &command{name: "idle", works: one(work{scenario: s, name: "idle", filter: "echo_messages"})}
	cmd := a.build(&cobra.Command{
		Short: idleShort,
		Long: "Measure what connections cost that do nothing: the growth of the server's\n" +
			"resident memory, and of the kernel's, divided by their number.\n\n" +
			"The server must be one that is started here, and the system Linux.",
		Example: "  penstock bench idle --connections 10000",
	})
	f := cmd.Flags()
	f.Var(flagvalue.Number(&s.Connections, 10, bench.MaxConnections), "connections", "connections")
	f.Var(flagvalue.Span(&s.Settle, time.Millisecond, bench.MaxDuration, ""), "settle", "time between the last handshake and the reading of memory")
	return cmd
}

const stormShort = "Clients that come and go: handshakes per second"

func newStormCommand() *cobra.Command {
	s := &bench.Storm{Clients: 32, PayloadBytes: 128, Warmup: time.Second, Duration: 5 * time.Second}
	a := &command{name: "storm", works: one(work{scenario: s, name: "storm", filter: "echo_messages"})}
	cmd := a.build(&cobra.Command{
		Short: stormShort,
		Long: "Measure connections that come and go: each client connects, shakes hands, has one\n" +
			"message echoed and says goodbye, and then the next one comes. Latency is that of\n" +
			"connecting and shaking hands, closed-loop." + ownServer,
		Example: "  penstock bench storm --clients 100",
	})
	f := cmd.Flags()
	f.Var(flagvalue.Number(&s.Clients, 1, bench.MaxConnections), "clients", "clients at a time")
	f.Var(flagvalue.Number(&s.PayloadBytes, 1, bench.MaxPayload), "payload", "bytes of the message")
	addTime(f, &s.Duration, &s.Warmup)
	return cmd
}

const mixedShort = "Several kinds of connections at once, from a profile"

// usual is the profile of mixed where none is named.
func usual() bench.Mixed {
	return bench.Mixed{
		Groups: []bench.Group{
			{Name: "chat", Connections: 500, PayloadBytes: 200, Text: true, Pace: bench.Pace{Rate: 2000, Poisson: true}},
			{Name: "feed", Connections: 20, PayloadBytes: 64, Pace: bench.Pace{Rate: 2000}},
			{Name: "files", Connections: 2, PayloadBytes: 1 << 20, Pace: bench.Pace{Rate: 10}},
		},
		Warmup: time.Second, Duration: 5 * time.Second,
	}
}

func newMixedCommand() *cobra.Command {
	var profile string
	a := &command{name: "mixed"}
	a.works = func() ([]work, error) {
		m := usual()
		if profile != "" {
			var err error
			if m, err = bench.ReadProfile(profile); err != nil {
				return nil, &UsageError{"--profile", "", err.Error()}
			}
		}
		w := work{scenario: m, name: "mixed", filter: "echo_messages"}
		if m.Compresses() {
			w.args = []string{"--compress"}
		}
		return []work{w}, nil
	}
	cmd := a.build(&cobra.Command{
		Short: mixedShort,
		Long: "Measure an echo server with groups of connections that behave differently, each\n" +
			"with figures of its own. Without --profile these are many that chat, some that\n" +
			"send a feed, and two with large messages. docs/benchmarks.md has the format." + ownServer,
		Example: "  penstock bench mixed --profile shop.json",
	})
	cmd.Flags().StringVar(&profile, "profile", "", "JSON file that says what the groups do")
	return cmd
}
