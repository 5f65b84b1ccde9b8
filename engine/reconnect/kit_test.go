package reconnect_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/reconnect"
)

// A tally is what a server knows of one client: the messages that it has received, and
// the connection that counts.
type tally struct {
	mu    sync.Mutex
	got   []string
	place any
	fence bool // only the newest connection counts
}

// enter begins a connection and returns how many messages have come before.
func (y *tally) enter(place any) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.place = place
	return len(y.got)
}

// take counts a message and returns how many there are now.
func (y *tally) take(place any, message string) (n int, counts bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.fence && y.place != place {
		return 0, false
	}
	y.got = append(y.got, message)
	return len(y.got), true
}

func (y *tally) messages() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return append([]string(nil), y.got...)
}

// numbers are the messages by what stands before the dash.
func (y *tally) numbers(t *testing.T) (list []int) {
	for _, m := range y.messages() {
		number, rest, padded := strings.Cut(m, "-")
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		require.Equal(t, padded, strings.HasSuffix(rest, end), "message %d is not whole", n)
		list = append(list, n)
	}
	return list
}

func ackText(n int) string { return "ack " + strconv.Itoa(n) }

func readAck(m engine.Message) (uint64, bool) {
	number, ok := strings.CutPrefix(string(m.Data), "ack ")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, ok && err == nil
}

// counting is an endpoint that greets with the number of messages and acknowledges
// each.
func counting(y *tally) engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error { return c.SendText(ackText(y.enter(c))) },
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			if n, counts := y.take(c, string(m.Data)); counts {
				return c.SendText(ackText(n))
			}
			return nil
		},
	}}
}

// silent is an endpoint that only takes.
func silent(y *tally) engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			y.take(c, string(m.Data))
			return nil
		},
	}}
}

// patient returns a context with the kit's patience.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// start makes a client and starts it; it is closed before the servers of the test.
func start(t *testing.T, cfg reconnect.Config) *reconnect.Client {
	t.Helper()
	c := create(t, cfg)
	c.Start()
	return c
}

func create(t *testing.T, cfg reconnect.Config) *reconnect.Client {
	t.Helper()
	c, err := reconnect.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Close(ctx)
	})
	return c
}

// newEngine returns an engine for clients, which ends before the servers.
func newEngine(t *testing.T, cfg engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
		defer cancel()
		_ = e.Shutdown(ctx)
	})
	return e
}

func awaitState(t *testing.T, c *reconnect.Client, s reconnect.State) {
	t.Helper()
	enginetest.Await(t, func() bool { return c.Status().State == s }, "the state should be %v", s)
}

// A seed is printed, so that a failure can be had again, as far as the network
// lets it.
func newSeed(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// A fate is what a proxy does to one connection.
type fate int

const (
	refuses    fate = iota // closes it before the handshake
	resets                 // resets both sides, in the middle of what is under way
	cuts                   // closes both sides
	tardy                  // resets the client, and gives the server what has come so far later
	blackHoles             // forwards nothing any more, and keeps both open
	fates
)

func (f fate) String() string {
	return [...]string{"refuses", "resets", "cuts", "tardy", "black-holes"}[f]
}

// A proxy stands between clients and a server and fails in all the ways that
// networks do, until it is told to be calm.
type proxy struct {
	t      *testing.T
	ln     net.Listener
	target string
	most   int // bytes that a connection lasts for

	noHoles atomic.Bool // what is lost in one without acknowledgements is most of all
	calm    atomic.Bool
	wg      sync.WaitGroup

	mu     sync.Mutex
	rng    *rand.Rand
	counts [fates]int
	open   map[net.Conn]bool
	closed bool
}

func newProxy(t *testing.T, target string, most int, rng *rand.Rand) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{t: t, ln: ln, target: target, most: most, rng: rng, open: make(map[net.Conn]bool)}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
		t.Logf("faults: %v", p.faults())
	})
	return p
}

func (p *proxy) url() string { return "ws://" + p.ln.Addr().String() + "/" }

func (p *proxy) faults() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for f, n := range p.counts {
		fmt.Fprintf(&b, "%v %d, ", fate(f), n)
	}
	return b.String()
}

func (p *proxy) accept() {
	defer p.wg.Done()
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Add(1)
		go p.relay(conn)
	}
}

func (p *proxy) intn(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	if p.closed {
		_ = c.Close()
	}
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// relay forwards up to a random number of bytes in either direction, with delays, and
// then lets fate decide.
func (p *proxy) relay(client net.Conn) {
	defer p.wg.Done()
	p.keep(client)
	defer p.forget(client)
	doom := fate(p.intn(int(fates)))
	if doom == blackHoles && p.noHoles.Load() {
		doom = resets
	}
	if doom == refuses && !p.calm.Load() {
		p.note(doom)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.keep(server)
	defer p.forget(server)
	r := &relay{p: p, doom: doom, client: client, server: server, hole: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); r.forward(server, client, 1000+p.intn(p.most)) }()
	go func() { defer wg.Done(); r.forward(client, server, 500+p.intn(p.most/3)) }()
	wg.Wait()
}

func (p *proxy) note(f fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[f]++
}

type relay struct {
	p              *proxy
	doom           fate
	client, server net.Conn
	once           sync.Once
	hole           chan struct{} // closed when nothing passes any more
}

func (r *relay) forward(to, from net.Conn, most int) {
	buf := make([]byte, 4096)
	for n, passed := 0, 0; ; {
		var err error
		if n, err = from.Read(buf); err != nil {
			r.end(err)
			return
		}
		if r.p.intn(4) == 0 {
			time.Sleep(time.Duration(r.p.intn(2000)) * time.Microsecond)
		}
		if passed += n; passed > most && !r.p.calm.Load() {
			r.fail(to, buf[:r.p.intn(n+1)])
			if r.doom != blackHoles {
				return
			}
		}
		select {
		case <-r.hole:
			continue // swallows
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			r.end(err)
			return
		}
	}
}

// end is the end of a connection by one of its sides.
func (r *relay) end(err error) {
	if err == io.EOF {
		time.Sleep(time.Millisecond) // what goes the other way may still be under way
	}
	_ = r.client.Close()
	_ = r.server.Close()
}

// fail does what fate wants, once. Of what has come a part goes on.
func (r *relay) fail(to net.Conn, part []byte) {
	r.once.Do(func() {
		r.p.note(r.doom)
		switch r.doom {
		case blackHoles:
			close(r.hole)
			return
		case tardy:
			_ = r.client.(*net.TCPConn).SetLinger(0)
			_ = r.client.Close()
			if to == r.server {
				time.Sleep(time.Duration(20+r.p.intn(60)) * time.Millisecond)
				_, _ = to.Write(part)
			}
		case resets:
			_, _ = to.Write(part)
			_ = r.client.(*net.TCPConn).SetLinger(0)
			_ = r.server.(*net.TCPConn).SetLinger(0)
		default:
			_, _ = to.Write(part)
		}
		_ = r.client.Close()
		_ = r.server.Close()
	})
}
