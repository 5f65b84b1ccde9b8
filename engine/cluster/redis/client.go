package redis

import (
	"crypto/tls"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where the Redis is.
type Config struct {
	// URL is that of a single server, of the sentinels of one that is replaced when it
	// fails, or of servers of a Redis Cluster; with rediss instead of redis by TLS:
	//
	//	redis://user:password@host:port/db, unix://user:password@path?db=0
	//	redis+sentinel://user:password@host:port,host:port/name/db
	//	redis+cluster://user:password@host:port,host:port
	//
	// The user and the password are those of the servers. Required, unless Client is set.
	URL string

	// Client is used instead of one for URL; whoever has made it closes it. It should not
	// retry (MaxRetries -1): a plain message might arrive twice.
	Client redis.UniversalClient

	// Sharded says which channels are sharded ones in a Redis Cluster: those go through
	// one of its servers and not through all. What other clients publish by PUBLISH does
	// not arrive on them. It must be the same on all nodes. Default: none.
	Sharded func(channel string) bool

	// Silence is after how long without a word from the server the connection is taken
	// for dead; half of that into it the server is asked for a word. Default 5 s.
	Silence time.Duration
}

// client returns what Config says.
func (c *Config) client() (client redis.UniversalClient, owned bool, err error) {
	if c.Silence == 0 {
		c.Silence = 5 * time.Second
	}
	if c.Silence < 10*time.Millisecond {
		return nil, false, errors.New("redis: Config.Silence must be at least 10 ms")
	}
	if c.Client != nil {
		return c.Client, false, nil
	}
	p, err := parse(c.URL)
	if err != nil {
		return nil, false, err
	}
	return p.client(c.Silence), true, nil
}

// CheckURL returns an error for what is no Config.URL. It does not quote it: there may be
// a password in it.
func CheckURL(s string) error {
	_, err := parse(s)
	return err
}

var errURL = errors.New("redis: Config.URL is none of a Redis: redis://host:port/db would be one, or redis+sentinel://host:port,host:port/name, or redis+cluster://host:port,host:port")

// A place is what a URL says.
type place struct {
	single    *redis.Options // nil: several
	addresses []string
	master    string // sentinels: whose they are
	options   redis.UniversalOptions
}

func parse(s string) (place, error) {
	scheme, kind, several := strings.Cut(strings.SplitN(s, "://", 2)[0], "+")
	if !several {
		o, err := redis.ParseURL(s)
		if err != nil { // what it says may quote the URL
			return place{}, errURL
		}
		return place{single: o}, nil
	}
	p, ok := parseSeveral(s)
	switch {
	case !ok || scheme != "redis" && scheme != "rediss":
		return place{}, errURL
	case kind == "cluster" && p.master == "", kind == "sentinel" && p.master != "":
	default:
		return place{}, errURL
	}
	if scheme == "rediss" {
		p.options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return p, nil
}

// parseSeveral reads a URL with several hosts, which package url does not know.
func parseSeveral(s string) (p place, ok bool) {
	_, rest, _ := strings.Cut(s, "://")
	rest, path, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(rest, "@")
	if at >= 0 {
		u, err := url.Parse("redis://" + rest[:at] + "@host")
		if err != nil {
			return p, false
		}
		p.options.Username = u.User.Username()
		p.options.Password, _ = u.User.Password()
	}
	for _, address := range strings.Split(rest[at+1:], ",") {
		u, err := url.Parse("redis://" + address)
		if err != nil || u.Hostname() == "" || u.Port() == "" {
			return p, false
		}
		p.addresses = append(p.addresses, address)
	}
	name, db, numbered := strings.Cut(path, "/")
	p.master = name
	if numbered {
		n, err := strconv.ParseUint(db, 10, 16)
		if p.options.DB = int(n); err != nil {
			return p, false
		}
	}
	return p, true
}

// client dials when it is used, once, and says so when that fails: whoever uses it tries
// again.
func (p place) client(silence time.Duration) redis.UniversalClient {
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if o := p.single; o != nil {
		o.MaxRetries, o.DialerRetries = -1, 1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = silence, silence, silence
		o.ContextTimeoutEnabled, o.Protocol, o.DisableIdentity = true, 2, true
		o.MaintNotificationsConfig = quiet
		return redis.NewClient(o)
	}
	o := p.options
	o.Addrs, o.MasterName, o.IsClusterMode = p.addresses, p.master, p.master == ""
	o.MaxRetries, o.DialerRetries = -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = silence, silence, silence
	o.ContextTimeoutEnabled, o.Protocol, o.DisableIdentity = true, 2, true
	o.MaintNotificationsConfig = quiet
	return redis.NewUniversalClient(&o)
}

// sharding is Config.Sharded where there is a cluster.
func sharding(client redis.UniversalClient, sharded func(string) bool) func(string) bool {
	if _, ok := client.(*redis.ClusterClient); ok {
		return sharded
	}
	return nil
}

func (b *Broker) isSharded(channel string) bool { return b.sharded != nil && b.sharded(channel) }
