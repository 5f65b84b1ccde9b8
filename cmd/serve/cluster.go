package serve

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/nats"
	"github.com/penstock-ws/penstock/engine/cluster/redis"
	"github.com/penstock-ws/penstock/engine/hub"
)

// clusterSettings is what the flags say about other nodes. Empty: not given.
type clusterSettings struct {
	redis, nats string
	channels    channels
	key         string
}

const pubsub = "broadcast_pubsub"

func (s *clusterSettings) addFlags(f *pflag.FlagSet) {
	f.StringVar(&s.redis, "redis", "", "URL of the Redis that nodes share, redis://user:password@host:port/db\n(environment WS_REDIS_URL, where nobody sees the password)")
	f.Var(&s.channels, "redis-channels", "channels of the broker for "+pubsub+"; separated by commas, repeatable\n(environment WS_REDIS_CHANNELS)")
	f.StringVar(&s.key, "redis-key", "", "beginning of the names that nodes use in the broker\n(default penstock; environment WS_REDIS_KEY)")
	f.StringVar(&s.nats, "nats", "", "URL of the NATS that nodes share instead, nats://host:port\n(environment WS_NATS_URL)")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
}

// channels is a repeatable flag that takes names of channels.
type channels struct{ list []string }

func (v *channels) Type() string   { return "names" }
func (v *channels) String() string { return strings.Join(v.list, ",") }
func (v *channels) allowed() string {
	return "names of channels, in printable ASCII without spaces, '*' and '>', separated by commas"
}

// Set is that of pflag.Value.
func (v *channels) Set(s string) error {
	for _, name := range strings.Split(s, ",") {
		if cluster.CheckChannel(name) != nil {
			return errNotAllowed
		}
		v.list = append(v.list, name)
	}
	return nil
}

// broker returns what the flags and the environment say, nil if nothing. Nothing has been
// started then. Its errors are *UsageError.
func (s *clusterSettings) broker(filters []string) (cluster.Broker, error) {
	otherwise(&s.redis, "WS_REDIS_URL")
	otherwise(&s.nats, "WS_NATS_URL")
	otherwise(&s.key, "WS_REDIS_KEY")
	if names := os.Getenv("WS_REDIS_CHANNELS"); names != "" && len(s.channels.list) == 0 {
		if s.channels.Set(names) != nil {
			return nil, usagef("WS_REDIS_CHANNELS=%q: allowed is %s", names, s.channels.allowed())
		}
	}
	some := s.redis != "" || s.nats != ""
	switch {
	case s.redis != "" && s.nats != "":
		return nil, usage(errors.New("--redis and --nats exclude each other: nodes share one broker"))
	case !some && slices.Contains(filters, pubsub):
		return nil, usagef("%s needs --redis or --nats", pubsub)
	case !some && len(s.channels.list) > 0:
		return nil, usage(errors.New("--redis-channels needs --redis or --nats"))
	case len(s.channels.list) == 0 && slices.Contains(filters, pubsub):
		return nil, usagef("%s needs --redis-channels", pubsub)
	case s.key != "" && (cluster.CheckChannel(s.key) != nil || len(s.key) > 100):
		return nil, usagef("--redis-key=%q: allowed is the name of a channel, of 100 bytes at the most", s.key)
	case !some:
		return nil, nil
	}
	return s.open()
}

func (s *clusterSettings) open() (cluster.Broker, error) {
	if s.nats != "" {
		b, err := nats.New(nats.Config{URL: s.nats})
		if err != nil { // the URL may hold a password
			return nil, usagef("--nats: allowed is a URL like nats://host:4222 (%w)", err)
		}
		return b, nil
	}
	logging.Disable() // the node says once that the broker is lost; the library would at every try
	b, err := redis.New(redis.Config{URL: s.redis})
	if err != nil { // the URL may hold a password
		return nil, usagef("--redis: allowed is a URL like redis://host:6379/0 (%w)", err)
	}
	return b, nil
}

func otherwise(setting *string, variable string) {
	if *setting == "" {
		*setting = os.Getenv(variable)
	}
}

// join returns a hub, and the node that it belongs to, if there is a broker. leave ends
// the node's part in the cluster.
func (s *clusterSettings) join(e *engine.Engine, b cluster.Broker, cfg engine.Config) (h *hub.Hub, n *cluster.Node, leave func(), err error) {
	if b == nil {
		return hub.New(e, hub.Config{}), nil, func() {}, nil
	}
	n, err = cluster.New(e, cluster.Config{Broker: b, Prefix: s.key, Logger: cfg.Logger})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // until leave
		defer close(ended)
		n.Run(ctx)
	}()
	return n.Hub(), n, func() { cancel(); <-ended }, nil
}
