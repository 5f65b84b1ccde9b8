package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
)

// Config says what a node shares with whom.
type Config struct {
	// Broker is what the nodes share, one connection for each. Default: one of an
	// Exchange of its own, so that the node is alone.
	Broker Broker

	// Hub is the configuration of the node's hub.
	Hub hub.Config

	// Archive keeps the histories of rooms, of those for which Hub.History returns any, for
	// all nodes: positions are the same on all of them, what a node has missed it gets
	// from there, and Group.Publish returns when the archive has the message. Default:
	// each node keeps its own.
	Archive Archive

	// Prefix begins the names of the nodes' channels: those with the same one are one
	// cluster. At most 100 letters, digits, '-', '_', '.'. Default "penstock".
	Prefix string

	// OutboxMessages and OutboxBytes are how much may wait for the broker. Default 8192
	// messages, 16 MiB.
	OutboxMessages int
	OutboxBytes    int

	// WhenFull says what becomes of a message for which there is no room in the outbox.
	// Default: DropOldest.
	WhenFull WhenFull

	// Lease is for how long a node is believed to be alive that is not heard of, with
	// its users and rooms. Nodes are heard of three times in that time. It must be the
	// same on all nodes. Default 15 s; at least 100 ms.
	Lease time.Duration

	// OnGap is called when messages of other nodes may be missing, after the last one
	// before the gap and before the first one behind it. It must not wait. A room with a
	// history has the gap in its history besides, where its members are told of it by
	// Hub.Gap. Default: nobody is told.
	OnGap func(g Gap)

	// OnNode is called when another node has been heard of for the first time, and when
	// it has left or its lease has ended. It must not wait.
	OnNode func(id string, alive bool)

	// OnMembers is called when the other nodes have more or fewer members of a room than
	// before: Members has the sum. It must not wait. Default: nobody is told.
	OnMembers func(room string)

	// Logger is told when the broker is lost and when it is back. Default:
	// slog.Default().
	Logger *slog.Logger
}

// Gap is where messages may be missing.
type Gap struct {
	Scope Scope
	Name  string // of the room, the user or the plain channel
	Node  string // that whose messages are missing; "": any
}

// Node is one process of a cluster. Any goroutine may call its methods at any time.
type Node struct {
	// immutable
	e   *engine.Engine
	id  nodeID
	cfg Config
	hub *hub.Hub

	// each locks itself
	outbox   outbox
	keeper   keeper
	replayer replayer
	presence presence
	stats    counters

	mu   sync.Mutex
	away bool // since Lost, until the next Live
	subs map[string]*subscription
}

// New returns a node of a cluster, which takes part in it when Run is called. The error
// says what is wrong in cfg.
func New(e *engine.Engine, cfg Config) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n := &Node{e: e, cfg: cfg, subs: make(map[string]*subscription)}
	_, _ = rand.Read(n.id[:]) // never fails
	n.outbox.init(n)
	n.keeper.init(n)
	n.replayer.init(n)
	n.presence.init(n)
	n.hub = hub.New(e, n.watch(cfg.Hub))
	n.subscribe(All, "")
	n.subscribePresence()
	return n, nil
}

func (c *Config) complete() error {
	var errs []error
	if c.Broker == nil {
		c.Broker = new(Exchange).Broker()
	}
	if c.Prefix == "" {
		c.Prefix = "penstock"
	}
	if err := CheckChannel(c.Prefix); err != nil || len(c.Prefix) > 100 {
		errs = append(errs, errors.New("cluster: Config.Prefix is no beginning of a channel's name, of 100 bytes at the most"))
	}
	given(&c.OutboxMessages, 8192)
	given(&c.OutboxBytes, 16<<20)
	given(&c.Lease, 15*time.Second)
	if c.OutboxMessages < 0 || c.OutboxBytes < 0 {
		errs = append(errs, errors.New("cluster: Config.OutboxMessages and OutboxBytes must not be negative"))
	}
	if c.Lease < 100*time.Millisecond {
		errs = append(errs, errors.New("cluster: Config.Lease must be at least 100 ms"))
	}
	if c.WhenFull > Refuse {
		errs = append(errs, errors.New("cluster: Config.WhenFull is DropOldest or Refuse"))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return errors.Join(errs...)
}

// given sets a setting to its default if it is zero.
func given[T comparable](setting *T, otherwise T) {
	var zero T
	if *setting == zero {
		*setting = otherwise
	}
}

// Run takes part in the cluster until ctx is done, and then tells the others that the
// node leaves; what is left in the outbox has a second. It is called once. Without it
// the node's connections get what is published on it, and nobody else.
func (n *Node) Run(ctx context.Context) {
	broker, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var brokers, tellers sync.WaitGroup
	brokers.Go(func() { n.cfg.Broker.Run(broker, n.events()) }) // until stop
	tellers.Go(func() { n.presence.run(ctx) })                  // until ctx is done
	if n.cfg.Archive != nil {
		tellers.Go(func() { n.keeper.run(ctx) })   // until ctx is done
		tellers.Go(func() { n.replayer.run(ctx) }) // until ctx is done
	}
	rest := n.outbox.run(ctx)
	tellers.Wait()
	n.outbox.finish(rest)
	stop()
	brokers.Wait()
}

// ID returns the node's name, another for each process.
func (n *Node) ID() string { return n.id.String() }

func (id nodeID) String() string { return hex.EncodeToString(id[:]) }

// Hub returns the hub of the node's own connections: what is sent by it stays on the
// node. Its Handler must be that of the connections.
func (n *Node) Hub() *hub.Hub { return n.hub }
