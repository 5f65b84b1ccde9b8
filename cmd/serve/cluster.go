package serve

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9/logging"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/nats"
	"github.com/penstock-ws/penstock/engine/cluster/redis"
	"github.com/penstock-ws/penstock/engine/session"
)

// nodeSettings is what is said about other nodes. Empty: nothing.
type nodeSettings struct {
	redis, nats string
	channels    []string
	key         string
}

const pubsub = "broadcast_pubsub"

// mostKey bounds the beginning of names; filters put theirs behind it.
const mostKey = 80

func nodeOptions() []*option {
	return []*option{
		{field: "redis", flag: "redis", env: "WS_REDIS_URL", text: true, secret: true, group: groupNodes, arg: "url",
			usage:   "Redis that nodes share, redis://user:password@host:port/db; redis+sentinel://host:port,host:port/name; redis+cluster://host:port,host:port",
			allowed: "a URL like redis://host:6379/0, redis+sentinel://host:26379,host:26379/name or redis+cluster://host:6379,host:6379", set: func(s *settings, v string) bool { s.nodes.redis = v; return redis.CheckURL(v) == nil }},
		{field: "nats", flag: "nats", env: "WS_NATS_URL", text: true, secret: true, group: groupNodes, arg: "url",
			usage:   "NATS that nodes share instead, nats://user:password@host:port",
			allowed: "a URL like nats://host:4222", set: func(s *settings, v string) bool { s.nodes.nats = v; return nats.CheckURL(v) == nil }},
		{field: "redis_channels", flag: "redis-channels", env: "WS_REDIS_CHANNELS", list: true, text: true, group: groupNodes, arg: "names",
			usage:   "channels of the broker for " + pubsub + "; separated by commas, repeatable",
			allowed: "names of channels, in printable ASCII without spaces, '*' and '>', separated by commas", set: setChannels},
		{field: "redis_key", flag: "redis-key", env: "WS_REDIS_KEY", text: true, group: groupNodes, arg: "name", fallback: "penstock",
			usage:   "beginning of the names that nodes use in the broker",
			allowed: "the name of a channel, of 80 bytes at the most", set: setKey},
	}
}

func setChannels(s *settings, v string) bool {
	for _, name := range strings.Split(v, ",") {
		if cluster.CheckChannel(name) != nil {
			return false
		}
		s.nodes.channels = append(s.nodes.channels, name)
	}
	return true
}

func setKey(s *settings, v string) bool {
	s.nodes.key = v
	return cluster.CheckChannel(v) == nil && len(v) <= mostKey
}

// some reports whether there is a broker.
func (s *nodeSettings) some() bool { return s.redis != "" || s.nats != "" }

// agree finds what contradicts each other. Its errors are *UsageError.
func (s *nodeSettings) agree(filters []string) error {
	switch needed := slices.Contains(filters, pubsub); {
	case s.redis != "" && s.nats != "":
		return usagef("--redis and --nats exclude each other: nodes share one broker")
	case !s.some() && needed:
		return usagef("%s needs --redis or --nats", pubsub)
	case !s.some() && len(s.channels) > 0:
		return usagef("--redis-channels needs --redis or --nats")
	case len(s.channels) == 0 && needed:
		return usagef("%s needs --redis-channels", pubsub)
	}
	return nil
}

// open returns a new connection to the broker, which has not been made yet.
func (s *nodeSettings) open() (cluster.Broker, error) {
	if s.nats != "" {
		return nats.New(nats.Config{URL: s.nats})
	}
	logging.Disable() // the node says once that the broker is lost; the library would at every try
	return redis.New(redis.Config{URL: s.redis, Sharded: s.ofNodes})
}

// ofNodes tells the channels of nodes from those of any client, which PUBLISH reaches.
func (s *nodeSettings) ofNodes(channel string) bool {
	return strings.HasPrefix(channel, s.key+".") && !slices.Contains(s.channels, channel)
}

// nodes are what this process has of a cluster: each has a hub and a
// connection to the broker of its own.
type nodes struct {
	*settings
	e     *engine.Engine
	list  []*cluster.Node
	named map[string]int
}

// join makes a node, whose names in the broker have name in them. It takes part when run
// is called.
func (n *nodes) join(name string, cfg cluster.Config) (*cluster.Node, error) {
	b, err := n.nodes.open()
	if err != nil {
		return nil, err
	}
	cfg.Broker, cfg.Prefix, cfg.Logger = b, n.prefix(name), n.engine.Logger
	cfg.Archive = archiveOf(b)
	node, err := cluster.New(n.e, cfg)
	if err == nil {
		n.list = append(n.list, node)
	}
	return node, err
}

// archiveOf returns what keeps histories behind a connection. It is asked nothing unless
// a filter keeps any.
func archiveOf(b cluster.Broker) cluster.Archive {
	if b, ok := b.(*nats.Broker); ok {
		return b.Archive(nats.ArchiveConfig{})
	}
	return b.(*redis.Broker)
}

// prefix tells a filter that is named twice from itself.
func (n *nodes) prefix(name string) string {
	prefix := n.nodes.key + "." + name
	n.named[name]++
	if i := n.named[name]; i > 1 {
		prefix += strconv.Itoa(i)
	}
	return prefix
}

// sessions returns the store of the filters, and what closes it: in Redis if there is
// one, so that all nodes have it.
func (n *nodes) sessions() (store session.Store, end func(), err error) {
	if n.nodes.redis == "" {
		return new(session.Memory), func() {}, nil
	}
	in, err := redis.NewSessions(redis.Config{URL: n.nodes.redis}, n.nodes.key+":session:")
	if err != nil {
		return nil, nil, err
	}
	return in, func() { _ = in.Close() }, nil
}

// run has the nodes take part until leave, which waits until they have left.
func (n *nodes) run() (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, node := range n.list {
		all.Go(func() { node.Run(ctx) }) // until leave
	}
	return func() { cancel(); all.Wait() }
}
