package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config says who is a worker.
type Config struct {
	// Secrets are what a worker may present, any one of them: two while one is being
	// replaced by the other. Required. They are compared in constant time, and neither
	// they nor what is presented is ever logged.
	Secrets []string

	// RefuseUpgrade answers a worker without a secret with 403. Default: the connection
	// is opened and closed with 1008, which is all that a browser can see.
	RefuseUpgrade bool

	// OnClient is called for what a client sends that the protocol does not know; its
	// error means what that of engine.Handler.OnMessage does. Default: it is dropped and
	// counted.
	OnClient func(ctx context.Context, c *engine.Conn, m engine.Message) error

	// Join makes a node of a cluster of c, to which it adds a broker and a prefix of the
	// relay's own, the same on all nodes: workers then feed the clients of every node.
	// The program runs the node. Default: there is one node.
	Join func(c cluster.Config) (*cluster.Node, error)

	// Logger is told of what workers send that is not relayed, without its text.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Relay is such an endpoint. Any goroutine may call its methods.
type Relay struct {
	// immutable
	e       *engine.Engine
	cfg     Config
	secrets interceptors.Digests
	hub     *hub.Hub
	node    *cluster.Node // nil: there is no cluster

	stats counters

	mu     sync.Mutex  // for who changes online and tells it
	online atomic.Bool // read at any time
}

// The rooms of a relay's hub.
const (
	clients = "clients"
	workers = "workers"
)

// New returns a relay for connections of e. The error says which secret is missing or
// empty.
func New(e *engine.Engine, cfg Config) (*Relay, error) {
	if len(cfg.Secrets) == 0 {
		return nil, errors.New("relay: Config.Secrets is empty: give at least one that workers present")
	}
	for i, s := range cfg.Secrets {
		if s == "" {
			return nil, fmt.Errorf("relay: Config.Secrets[%d] is empty: anybody could present it", i)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Relay{e: e, cfg: cfg}
	for _, s := range cfg.Secrets {
		r.secrets.Add(s)
	}
	r.cfg.Secrets = nil
	h := hub.Config{OnRoom: r.changed, Logger: cfg.Logger}
	if cfg.Join == nil {
		r.hub = hub.New(e, h)
		return r, nil
	}
	var err error
	if r.node, err = cfg.Join(cluster.Config{Hub: h, OnMembers: r.changedElsewhere}); err != nil {
		return nil, err
	}
	r.hub = r.node.Hub()
	return r, nil
}

// Handler returns the endpoint's handler, for engine.Endpoint.
func (r *Relay) Handler() engine.Handler {
	return r.hub.Handler(engine.Handler{
		Admit: r.admit, OnOpen: r.open, OnMessage: r.message, OnDrain: r.tellOwed,
	})
}

// WorkerOnline reports whether a worker is connected, on whichever node.
func (r *Relay) WorkerOnline() bool { return r.online.Load() }

// Clients returns the connected clients, those of this node.
func (r *Relay) Clients() hub.Group { return r.hub.Room(clients).Group }

// Workers returns the connected workers, those of this node.
func (r *Relay) Workers() hub.Group { return r.hub.Room(workers).Group }

// A role is what a peer has said and shown that it is.
type role uint8

const (
	client role = iota
	worker
	impostor // a worker by its own account
)

// A peer is a connection's place in the relay.
type peer struct {
	role role // immutable

	// atomic
	missed atomic.Uint64 // statuses that it was too slow for
	told   atomic.Uint64 // how many of them a later one has made up for
}

type peerKey struct{}

func peerOf(c *engine.Conn) *peer { return c.Get(peerKey{}).(*peer) }

// admit finds out what a peer is, while its request is there.
func (r *Relay) admit(req *http.Request) error {
	query, err := url.ParseQuery(req.URL.RawQuery)
	is := client
	switch types := query["client_type"]; {
	case err != nil: // whose text may have the secret in it
		return &engine.HandshakeError{Status: http.StatusBadRequest, Reason: "the query cannot be read"}
	case len(types) > 1:
		return &engine.HandshakeError{Status: http.StatusBadRequest, Reason: "client_type is given more than once"}
	case len(types) == 0 || types[0] == "client":
	case types[0] != "worker":
		return &engine.HandshakeError{Status: http.StatusBadRequest, Reason: "client_type must be client or worker"}
	case r.secrets.Find(req.Header.Get("X-Worker-Secret")) >= 0 || r.secrets.Find(query.Get("token")) >= 0:
		is = worker
	default:
		is = impostor
		r.stats.refused.Add(1)
		r.cfg.Logger.Warn("penstock: a worker without a valid secret was refused", "remote", req.RemoteAddr)
	}
	if is == impostor && r.cfg.RefuseUpgrade {
		return &engine.HandshakeError{Status: http.StatusForbidden, Reason: "not a worker"}
	}
	interceptors.ConnStore(req.Context()).Set(peerKey{}, &peer{role: is})
	return nil
}

func (r *Relay) open(_ context.Context, c *engine.Conn) error {
	switch peerOf(c).role {
	case client:
		r.hub.Room(clients).Join(c)
	case worker:
		r.hub.Room(workers).Join(c)
	default:
		return &engine.CloseError{Code: frame.ClosePolicyViolation, Reason: "not a worker"}
	}
	return nil
}

func (r *Relay) message(ctx context.Context, c *engine.Conn, m engine.Message) error {
	switch {
	case m.Type == frame.Text && string(m.Data) == "ping":
		return c.SendText("pong")
	case m.Type == frame.Text && string(m.Data) == "get_worker_status":
		return r.tellStatus(c)
	case peerOf(c).role == worker:
		return r.relay(ctx, c, m)
	case r.cfg.OnClient != nil:
		return r.cfg.OnClient(ctx, c, m)
	}
	r.stats.unknown.Add(1)
	return nil
}

// relay gives a worker's message to the clients.
func (r *Relay) relay(ctx context.Context, c *engine.Conn, m engine.Message) error {
	switch {
	case m.Type != frame.Text || !json.Valid(m.Data):
		r.stats.invalid.Add(1)
	case !bytes.HasPrefix(bytes.TrimLeft(m.Data, " \t\r\n"), []byte("{")):
		r.stats.notObjects.Add(1)
	default:
		r.stats.relayed.Add(1)
		t, err := r.toClients(ctx, m.Data)
		r.stats.missed.Add(uint64(t.Congested + t.Dropped))
		return err
	}
	r.cfg.Logger.Warn("penstock: a worker's message is no JSON object and was dropped", "conn", c.ID(), "type", m.Type, "size", len(m.Data))
	return nil
}

// toClients sends to the clients of all nodes. The tally is that of this one.
func (r *Relay) toClients(ctx context.Context, text []byte) (engine.Tally, error) {
	if r.node != nil {
		return r.node.Room(clients).Broadcast(ctx, frame.Text, text)
	}
	return r.Clients().Broadcast(ctx, frame.Text, text)
}

// status is how the state of the workers looks on the wire.
func status(online bool) []byte {
	return fmt.Appendf(nil, `{"type":"worker_status","online":%t}`, online)
}

// latest lets only the last status wait for a client.
var latest = engine.SendOptions{Class: new(backpressure.Class), Key: "worker_status"}

// changed is told by the hub, in order, when the first worker has come or the last has
// gone.
func (r *Relay) changed(room string, occupied bool) {
	switch {
	case room != workers:
	case r.node != nil:
		r.changedElsewhere(room)
	default:
		r.setOnline(occupied)
	}
}

// changedElsewhere is told by the node when there are other workers, or fewer.
func (r *Relay) changedElsewhere(room string) {
	if room != workers {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if online := r.node.Members(workers) > 0; online != r.online.Load() {
		r.setOnline(online)
	}
}

// setOnline is called by one goroutine at a time, in order.
func (r *Relay) setOnline(occupied bool) {
	r.online.Store(occupied) // before anybody is told: see tellStatus
	p, err := r.e.Prepare(frame.Text, status(occupied))
	if err != nil { // MaxMessageBytes is tiny
		r.cfg.Logger.Error("penstock: the workers' status cannot be sent", "error", err)
		return
	}
	engine.BroadcastFunc(context.Background(), r.Clients().Conns(), p.With(latest), func(c *engine.Conn, _ error) {
		peerOf(c).missed.Add(1)
		r.tellOwed(c) // it may have drained before it was counted
	})
}

// tellOwed tells a client the status that it could not be told. What it misses while it
// is told stays owed.
func (r *Relay) tellOwed(c *engine.Conn) {
	p := peerOf(c)
	if n := p.missed.Load(); n != p.told.Load() && r.tellStatus(c) == nil {
		p.told.Store(n)
	}
}

// tellStatus answers who asks. If the status changes meanwhile the news may overtake
// the answer, so the answer is given again until it is true when it has been given.
func (r *Relay) tellStatus(c *engine.Conn) error {
	for {
		online := r.online.Load()
		if err := c.SendWith(latest, frame.Text, status(online)); err != nil {
			return err
		}
		if r.online.Load() == online {
			return nil
		}
	}
}
