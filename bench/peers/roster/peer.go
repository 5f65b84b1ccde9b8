package roster

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Peer is a server of the roster.
type Peer struct {
	Name  string   // as commands and tables have it
	What  string   // library, and what it runs on
	Setup string   // how it is set up, and why that is fair
	Modes []string // what it can do; all can do Echo and Fanout

	recipe recipe
}

// The modes that every peer has.
const (
	Echo   = "echo"   // every message is answered with itself
	Fanout = "fanout" // every message goes to all connections
)

// FanoutQueued is Fanout with a goroutine for each connection that writes.
const FanoutQueued = "fanout-queued"

// The modes of the variant "observed", besides Echo.
const (
	EchoNoops        = "echo-noops"         // five interceptors that do nothing, in both directions
	EchoInboundNoops = "echo-inbound-noops" // only inbound
	EchoMetrics      = "echo-metrics"       // histograms
	EchoTraces       = "echo-traces"        // traces that are not sampled
	EchoTracesWrites = "echo-traces-writes" // likewise, with events for writes
)

// recipe makes a program of a peer.
type recipe interface {
	build(context.Context, *Builder) (*Program, error)
}

var echoAndFanout = []string{Echo, Fanout}

// All returns every peer; Penstock in its four ways comes first.
func All() []Peer {
	return []Peer{
		{
			Name:   "penstock",
			What:   "Penstock, its handlers on a pool of workers",
			Setup:  "`penstock serve` as it comes, with the filter that echoes or broadcasts: limits, budgets, timeouts and metrics are on",
			Modes:  echoAndFanout,
			recipe: ours{},
		},
		{
			Name:   "penstock-inline",
			What:   "Penstock, its handlers on the reading goroutine",
			Setup:  "the same with --inline, for handlers that never block, which is how the peers run theirs",
			Modes:  echoAndFanout,
			recipe: ours{inline: true},
		},
		{
			Name:   "penstock-epoll",
			What:   "Penstock on event loops, its handlers on a pool of workers",
			Setup:  "`penstock serve --io epoll`",
			Modes:  echoAndFanout,
			recipe: ours{epoll: true},
		},
		{
			Name:   "penstock-epoll-inline",
			What:   "Penstock on event loops, its handlers on the loops",
			Setup:  "`penstock serve --io epoll --inline`",
			Modes:  echoAndFanout,
			recipe: ours{inline: true, epoll: true},
		},
		{
			Name:   "gws",
			What:   "lxzan/gws on net/http",
			Setup:  "the README's read loop on its own goroutine, handlers in it (ParallelEnabled is off); fan-out by its Broadcaster, which encodes once",
			Modes:  echoAndFanout,
			recipe: goPeer{"gws", "github.com/lxzan/gws"},
		},
		{
			Name:   "gorilla",
			What:   "gorilla/websocket on net/http",
			Setup:  "the README's loop of ReadMessage and WriteMessage, without write deadlines, which cost timers; fan-out by a PreparedMessage, written by the goroutine that has read it",
			Modes:  []string{Echo, Fanout, FanoutQueued},
			recipe: goPeer{"gorilla", "github.com/gorilla/websocket"},
		},
		{
			Name:   "coder",
			What:   "coder/websocket on net/http",
			Setup:  "messages are read into a buffer that the connection keeps and written as one frame, without deadlines; no prepared messages exist, so a fan-out encodes for each",
			Modes:  echoAndFanout,
			recipe: goPeer{"coder", "github.com/coder/websocket"},
		},
		{
			Name:   "gobwas",
			What:   "gobwas/ws on plain TCP, a goroutine for each connection",
			Setup:  "the README's low-level loop and zero-copy upgrade, with 4 KiB of bufio to read through, as its rivals have, and one write for each frame; fan-out by a compiled frame",
			Modes:  echoAndFanout,
			recipe: goPeer{"gobwas", "github.com/gobwas/ws"},
		},
		{
			Name:   "melody",
			What:   "olahol/melody on gorilla/websocket and net/http",
			Setup:  "its defaults, but for limits that let the messages pass; it has a queue and a goroutine to write for each connection, in an echo, too",
			Modes:  echoAndFanout,
			recipe: goPeer{"melody", "github.com/olahol/melody"},
		},
		{
			Name:   "node",
			What:   "npm's ws on Node",
			Setup:  "the README's echo and broadcast, without compression, with bufferutil, which it recommends for speed",
			Modes:  echoAndFanout,
			recipe: jsPeer{folder: "node", library: "ws", runtime: findNode},
		},
		{
			Name:   "bun",
			What:   "Bun's server, which is uWebSockets in C++ with JavaScript handlers",
			Setup:  "as its documentation has it, without compression; fan-out by publish to a topic, which batches what one turn of the loop sends",
			Modes:  echoAndFanout,
			recipe: jsPeer{folder: "bun", library: "bun", runtime: findBun},
		},
	}
}

// variants are Penstock in ways that matter beside itself only. They are not in All.
func variants() []Peer {
	return []Peer{{
		Name:   "observed",
		What:   "Penstock, its handlers on a pool of workers, with something to see inside",
		Setup:  "the engine with its defaults and interceptors, by mode: none, five that do nothing, metrics, traces that are not sampled",
		Modes:  []string{Echo, EchoNoops, EchoInboundNoops, EchoMetrics, EchoTraces, EchoTracesWrites},
		recipe: goPeer{"observed", "github.com/prometheus/client_golang"},
	}}
}

// Named returns the peers with these names, in the roster's order, variants of
// Penstock last; all but variants if there is no name.
func Named(names ...string) ([]Peer, error) {
	all := append(All(), variants()...)
	for _, name := range names {
		if !slices.ContainsFunc(all, func(p Peer) bool { return p.Name == name }) {
			return nil, fmt.Errorf("no peer is named %q; there are %s", name, strings.Join(namesOf(all), ", "))
		}
	}
	if len(names) == 0 {
		return All(), nil
	}
	return slices.DeleteFunc(all, func(p Peer) bool { return !slices.Contains(names, p.Name) }), nil
}

func namesOf(peers []Peer) (names []string) {
	for _, p := range peers {
		names = append(names, p.Name)
	}
	return names
}
