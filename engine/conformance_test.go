package engine_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

var (
	confPeers    = flag.Bool("conformance.peers", false, "show in the table of TestConformance what servers on gws and gorilla do, too")
	confPatience = flag.Duration("conformance.patience", enginetest.Patience, "how long the conformance suite waits for the engine")
)

// confPeerPatience is how long peers have: many do not answer at all.
const confPeerPatience = time.Second

// confLimit is the size of messages that every server is configured with.
const confLimit = 70_000

// A probe is one case: what a client sends, and what must come back. All servers
// send messages back as they are, except for the commands below.
type probe struct {
	clause string // of confClauses
	name   string

	offer []string // Sec-WebSocket-Extensions
	plain bool     // the server does not compress, although offered
	on    confConf // where it is neither plain nor offered anything

	send  []byte
	later []byte // sent when so many messages, pongs, pings and closes have come
	after int
	rest  []byte // sent to a server that should not have waited for it

	echo    []said   // in order
	pongs   []string // in order; earlier ones may be missing (RFC 6455 §5.5.3)
	fails   []int    // the codes with which the server must fail the connection; none: it must not
	may     []int    // codes with which it may fail it nevertheless, which is weaker
	answers []int    // answer a close frame with one of these: the default is 1000, to one that the suite adds
	closing bool     // send or later ends with a close frame of the probe's own
	hangup  bool     // the client ends its direction instead of closing
	insists bool     // it sends all, although the server's close comes before the end, and must be able to
	trails  bool     // it sends more after its close frame, so that a reset is its own fault

	picks   int  // the offer that must be accepted, from 1; 0: none
	refused bool // the handshake, with 400

	once bool                    // in one write, and nothing before it
	bare bool                    // not once more with compression agreed
	more func(s *session) string // what else must hold, "" if it does
}

// Commands to the servers.
const (
	confCloseCommand  = "@close"  // close with 4001 "enough", then try to send
	confReasonCommand = "@reason" // close with 4001 and confReason
	confLongCommand   = "@long"   // close with 4001 and a reason that is too long
	confPingCommand   = "@ping"   // ping with 125 bytes
	confCountCommand  = "@count"  // and anything behind it: answer with the number of bytes
)

// confReason is as long as a reason may be, and ends in a rune.
var confReason = strings.Repeat("Grüße ", 14) + "zum €𝄞"

// confConf is how a server is configured.
type confConf int

const (
	confPlain   confConf = iota
	confPacking          // with compression
	confConfs            // how many there are
)

// A confTarget is an implementation of an echo server.
type confTarget struct {
	name     string
	ours     bool // must pass; others are only shown
	patience time.Duration
	addr     [confConfs]string
	path     string
	crashed  func(client string) string // what the connection of this client has made it panic with
}

// confTargets starts the servers. Another way of waiting for sockets is another
// entry of modes.
func confTargets(t *testing.T) (all []*confTarget) {
	base := engine.Config{
		MaxMessageBytes: confLimit, ControlFramesPerSecond: -1,
		CloseTimeout: time.Minute, // nothing must have to wait for it
		Logger:       quiet,
	}
	packing := base
	packing.Compress, packing.CompressMinBytes, packing.CompressLevel, packing.MaxInflateRatio = true, 1, 9, -1
	modes := []struct {
		name   string // with a space behind it, unless there is only one
		change func(*engine.Config)
	}{
		{"", func(*engine.Config) {}},
	}
	var servers []*enginetest.Server
	for _, mode := range modes {
		pool := &confTarget{name: "engine " + mode.name + "pool", ours: true, patience: *confPatience, path: "/"}
		inline := &confTarget{name: "engine " + mode.name + "inline", ours: true, patience: *confPatience, path: "/inline"}
		for conf, cfg := range []engine.Config{confPlain: base, confPacking: packing} {
			mode.change(&cfg)
			s := enginetest.Start(t, cfg, onMessage(confEcho))
			s.Handle(inline.path, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: confEcho}})
			s.Dial().Hangup() // it serves: the next one's clean-up can tell its goroutines from this one's
			servers = append(servers, s)
			pool.addr[conf], inline.addr[conf] = s.Addr(), s.Addr()
		}
		all = append(all, pool, inline)
	}
	t.Cleanup(func() { // the workers of all have ended before the clean-up of one looks for goroutines
		for _, s := range servers {
			if err := s.Shutdown(enginetest.Patience); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		}
	})
	if *confPeers {
		all = append(all, confGws(t), confGorilla(t))
	}
	return all
}

// confCount answers the command that begins with its name. An echo of what is too
// large would end the connection for its own sake.
func confCount(data []byte) ([]byte, bool) {
	return strconv.AppendInt(nil, int64(len(data)), 10), bytes.HasPrefix(data, []byte(confCountCommand))
}

func confEcho(_ context.Context, c *engine.Conn, m engine.Message) error {
	if n, ok := confCount(m.Data); ok {
		return c.Send(m.Type, n)
	}
	switch string(m.Data) {
	case confCloseCommand:
		err := c.Close(4001, "enough")
		_ = c.SendText("after the close")
		return err
	case confReasonCommand:
		return c.Close(4001, confReason)
	case confLongCommand:
		return &engine.CloseError{Code: 4001, Reason: confReason + confReason}
	case confPingCommand:
		return c.Ping(letters(125))
	}
	return c.Send(m.Type, m.Data)
}

// A confResult is what one probe has shown of one target.
type confResult struct {
	verdict confVerdict
	seen    string
}

// A confVerdict orders outcomes, the worst last.
type confVerdict int

const (
	confOK      confVerdict = iota
	confWeak                // permissible, but less than the RFC recommends, or than the code says
	confFailed              // what it must not do
	confCrashed             // a panic, which ends a process that does not recover
)

func (v confVerdict) String() string {
	return [...]string{"ok", "weak", "FAILED", "CRASHED"}[v]
}

// A variation is another way to send the same.
type variation struct {
	name   string
	before bool // a good message in the same write
	agreed bool // compression is, and not used
	pieces func([]byte) [][]byte
}

func inOne(b []byte) [][]byte { return [][]byte{b} }

// inMany splits into single bytes, but for the middle of what is long.
func inMany(b []byte) (all [][]byte) {
	const ends, middle = 300, 1021
	for at := 0; at < len(b); {
		n := 1
		if at >= ends && len(b)-at > ends {
			n = min(middle, len(b)-at-ends)
		}
		all = append(all, b[at:at+n])
		at += n
	}
	return all
}

var variations = []variation{
	{name: "whole", pieces: inOne},
	{name: "split", pieces: inMany},
	{name: "behind a message", before: true, pieces: inOne},
	{name: "compression agreed", agreed: true, pieces: inOne},
}

func (p *probe) in(v variation) bool {
	switch {
	case p.once:
		return v.name == "whole"
	case v.agreed:
		return p.offer == nil && p.on == confPlain && !p.bare
	}
	return true
}

// try runs p against the target in one variation.
func (target *confTarget) try(p *probe, v variation) confResult {
	conf, offer := p.on, p.offer
	switch {
	case p.plain:
		conf = confPlain
	case offer != nil:
		conf = confPacking
	}
	if v.agreed {
		conf, offer = confPacking, []string{"permessage-deflate"}
	}
	s, err := openSession(target.addr[conf], target.path, offer, target.patience)
	if err != nil {
		return confResult{confFailed, err.Error()}
	}
	defer func() { _ = s.conn.Close() }()
	if r, over := p.judgeHandshake(s, v); over {
		return r
	}
	send, echo := p.send, p.echo
	if v.before {
		send = append(fText("before"), send...)
		echo = append(texts("before"), echo...)
	}
	if len(p.fails) == 0 && !p.closing && !p.hangup {
		if p.later != nil {
			own := *p
			own.later, p = append(slices.Clone(p.later), fClose(1000, "")...), &own
		} else {
			send = append(slices.Clone(send), fClose(1000, "")...)
		}
	}
	if v.before && p.later != nil {
		own := *p
		own.after++
		p = &own
	}
	s.run(p, send, len(echo), v.pieces)
	r := p.judge(s, echo, target.ours)
	if crash := target.crash(s); crash != "" {
		r = confResult{confCrashed, crash}
	}
	if r.seen != "" {
		r.seen = v.name + ": " + r.seen
	}
	return r
}

func (target *confTarget) crash(s *session) string {
	if target.crashed == nil {
		return ""
	}
	return target.crashed(s.conn.LocalAddr().String())
}

// judgeHandshake holds the response against what p wants of it. over: there is
// nothing more to judge.
func (p *probe) judgeHandshake(s *session, v variation) (r confResult, over bool) {
	fail := func(verdict confVerdict, format string, args ...any) (confResult, bool) {
		return confResult{verdict, fmt.Sprintf(format, args...)}, true
	}
	switch {
	case p.refused && s.status == http.StatusBadRequest:
		return confResult{}, true
	case p.refused && s.status == http.StatusSwitchingProtocols:
		return fail(confFailed, "accepted, with %q", s.answer)
	case p.refused:
		return fail(confWeak, "refused with %d", s.status)
	case s.status != http.StatusSwitchingProtocols:
		return fail(confFailed, "refused with %d", s.status)
	case v.agreed && !s.agreed:
		return fail(confFailed, "an offer without parameters was declined")
	case v.agreed:
		return confResult{}, false
	}
	if problem := judgeAnswer(p.offer, s.answer, p.picks); problem != "" {
		return fail(confFailed, "%s", problem)
	}
	return confResult{}, false
}

// judge holds what came against what p wants.
func (p *probe) judge(s *session, echo []said, strict bool) confResult {
	if s.wrong != "" {
		return confResult{confFailed, "sent " + s.wrong}
	}
	if slices.Contains(p.may, s.code) {
		return confResult{confWeak, s.ending()}
	}
	if problem := p.judgeMessages(s, echo); problem != "" {
		return confResult{confFailed, problem}
	}
	r := p.judgeEnd(s, strict)
	if r.verdict < confFailed && p.more != nil {
		if problem := p.more(s); problem != "" {
			return confResult{confFailed, problem}
		}
	}
	if r.verdict == confOK && p.insists && s.unsent != nil {
		r = confResult{confWeak, "a reset before all was sent: " + s.unsent.Error()}
	}
	if r.verdict == confOK && s.tardy {
		r = confResult{confWeak, "only when the rest had come"}
	}
	return r
}

// judgeMessages: a connection that fails may take with it what came before; one
// that does not must answer all.
func (p *probe) judgeMessages(s *session, echo []said) string {
	failing := len(p.fails) > 0
	for i, m := range s.said {
		if i >= len(echo) {
			return fmt.Sprintf("sent %v", m)
		}
		if m != echo[i] {
			return fmt.Sprintf("sent %v instead of %v", m, echo[i])
		}
	}
	if len(s.said) < len(echo) && !failing {
		return fmt.Sprintf("%d of %d messages came back, then %s", len(s.said), len(echo), s.ending())
	}
	rest := p.pongs
	for _, pong := range s.pongs {
		i := slices.Index(rest, pong)
		if i < 0 {
			return fmt.Sprintf("sent a pong %s", confQuote(pong))
		}
		rest = rest[i+1:]
	}
	if len(rest) > 0 && !failing {
		return fmt.Sprintf("no pong %s, then %s", confQuote(rest[len(rest)-1]), s.ending())
	}
	return ""
}

func (s *session) ending() string {
	if s.code != 0 {
		return fmt.Sprintf("close %d %q, %s", s.code, s.reason, s.end)
	}
	return s.end
}

func (p *probe) judgeEnd(s *session, strict bool) confResult {
	want := p.fails
	if len(want) == 0 {
		want = p.answers
	}
	if len(want) == 0 {
		want = []int{1000}
	}
	dropped := s.end == "eof" || s.end == "reset"
	switch {
	case !dropped:
		return confResult{confFailed, s.ending()}
	case p.hangup && s.end == "eof":
		return confResult{}
	case s.code == 0 && len(p.fails) > 0:
		return confResult{confWeak, "dropped without a close frame: " + s.end}
	case s.code == 0:
		return confResult{confFailed, "the close was not answered: " + s.end}
	case len(p.fails) > 0 && s.code == 1000:
		return confResult{confFailed, "closed as if nothing were wrong, with 1000"}
	case !slices.Contains(want, s.code):
		return confResult{confWeak, fmt.Sprintf("close %d %q, not %d", s.code, s.reason, want)}
	case s.end == "reset" && !p.trails && (strict || strings.HasPrefix(p.clause, "6455-7.1.1-")):
		return confResult{confWeak, "reset after the close frame"}
	}
	return confResult{}
}

// A confTable collects results.
type confTable struct {
	targets []string // immutable

	mu    sync.Mutex
	cells map[[2]string][]confResult // by clause and target
	notes []string
}

func (table *confTable) add(p *probe, target *confTarget, r confResult) {
	table.mu.Lock()
	defer table.mu.Unlock()
	at := [2]string{p.clause, target.name}
	table.cells[at] = append(table.cells[at], r)
	if r.verdict != confOK {
		table.notes = append(table.notes, fmt.Sprintf("%-13s %-7v %s/%s: %.150s", target.name, r.verdict, p.clause, p.name, r.seen))
	}
}

// cell is "ok 14", or how many of them are, and what the others are.
func (table *confTable) cell(clause, target string) string {
	list := table.cells[[2]string{clause, target}]
	var n [confCrashed + 1]int
	for _, r := range list {
		n[r.verdict]++
	}
	if n[confOK] == len(list) {
		return fmt.Sprintf("ok %d/%d", len(list), len(list))
	}
	cell := fmt.Sprintf("%d/%d", n[confOK], len(list))
	for v := confWeak; v <= confCrashed; v++ {
		if n[v] > 0 {
			cell += fmt.Sprintf(" %d %v", n[v], v)
		}
	}
	return cell
}

func (table *confTable) String() string {
	var b strings.Builder
	row := func(section, says string, cells []string) {
		line := fmt.Sprintf("%-18s %-58s", section, says)
		for _, cell := range cells {
			line += fmt.Sprintf(" | %-32s", cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	b.WriteString("\n")
	row("clause", "a server …", table.targets)
	total := 0
	for _, c := range confClauses {
		var cells []string
		n := len(table.cells[[2]string{c.key, table.targets[0]}])
		total += n
		for _, target := range table.targets {
			cells = append(cells, table.cell(c.key, target))
		}
		if n > 0 { // -run may have chosen others
			row(c.section(), c.says, cells)
		}
	}
	fmt.Fprintf(&b, "%d cases, each in up to %d variations\n", total, len(variations))
	sort.Strings(table.notes)
	for _, note := range table.notes {
		b.WriteString(note + "\n")
	}
	return b.String()
}

// Every clause of RFC 6455 §5 to §7 and RFC 7692 that shows in what a server does,
// against every way to run the engine. With -v it prints who does what:
//
//	go test ./engine -run Conformance -v [-args -conformance.peers]
func TestConformance(t *testing.T) {
	targets := confTargets(t)
	table := &confTable{cells: make(map[[2]string][]confResult)}
	for _, target := range targets {
		table.targets = append(table.targets, target.name)
	}
	t.Cleanup(func() { t.Log(table.String()) })
	for _, p := range confProbes() {
		t.Run(p.clause+"/"+p.name, func(t *testing.T) {
			t.Parallel()
			var wait sync.WaitGroup
			for _, target := range targets {
				wait.Go(func() {
					r := target.tryAll(p)
					table.add(p, target, r)
					if target.ours && r.verdict != confOK {
						t.Errorf("%s: %v: %s", target.name, r.verdict, r.seen)
					}
				})
			}
			wait.Wait()
		})
	}
}

// tryAll returns the worst that any variation has shown.
func (target *confTarget) tryAll(p *probe) (worst confResult) {
	results := make([]confResult, len(variations))
	var wait sync.WaitGroup
	for i, v := range variations {
		if p.in(v) {
			wait.Go(func() { results[i] = target.try(p, v) })
		}
	}
	wait.Wait()
	for _, r := range results {
		if r.verdict > worst.verdict {
			worst = r
		}
	}
	return worst
}
