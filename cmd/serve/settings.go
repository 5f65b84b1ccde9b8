package serve

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/engine"
)

// settings is what the flags say. A zero limit has not been given.
type settings struct {
	host    string
	port    int
	filters names
	inline  bool
	io      engine.IO // zero: not given
	loops   int
	metrics string // host:port; empty: no metrics

	maxMessageBytes int
	sendChunkBytes  int
	workers         int
	memoryBudget    int
	compress        bool
	allowOrigins    []string
	trustedProxies  []netip.Prefix
}

const (
	defaultHost = "127.0.0.1"
	defaultPort = 9000

	// The ranges of engine.Config.
	largestSize    = 1 << 30
	smallestChunk  = 125
	smallestBudget = 4 << 20
	mostWorkers    = 1 << 20
	mostLoops      = 1 << 13
)

func (s *settings) addFlags(f *pflag.FlagSet) {
	s.host, s.port = defaultHost, defaultPort
	s.filters.flags = f
	f.SortFlags = false
	f.VarP(number{&s.port, 0, 65535}, "port", "p", "TCP port to listen on; 0 picks a free one")
	f.Var(host{&s.host}, "host", "address to listen on; 0.0.0.0 or :: for all")
	f.VarP(&s.filters, "filter", "f", "filter to run; repeatable (default broadcast_messages)")
	f.BoolVar(&s.inline, "inline", false, "handle messages where they are read, without workers")
	f.Var(way{&s.io}, "io", "how to wait for peers: a goroutine for each, or a few event loops (Linux, without TLS)\n(default goroutine; environment WS_IO)")
	f.Var(number{&s.loops, 1, mostLoops}, "loops", fmt.Sprintf("event loops of --io epoll\n(default %d here; environment WS_LOOPS)", engine.DefaultLoops()))
	f.Var(number{&s.maxMessageBytes, 1, largestSize}, "max-message-bytes",
		"largest message in either direction; a larger one closes with 1009\n(default 1048576; environment MAX_WS_MESSAGE_BYTES)")
	f.Var(number{&s.sendChunkBytes, smallestChunk, largestSize}, "send-chunk-bytes",
		"largest frame to send; a larger message goes out in fragments\n(default 65536; environment WS_SEND_CHUNK_BYTES)")
	f.Var(number{&s.workers, 1, mostWorkers}, "workers",
		fmt.Sprintf("handlers that may run at once\n(default %d here; environment WS_WORKERS)", engine.DefaultWorkers()))
	f.BoolVar(&s.compress, "compress", false, "agree to permessage-deflate with clients that offer it\n(environment WS_COMPRESS=on)")
	f.Var(number{&s.memoryBudget, smallestBudget, math.MaxInt}, "memory-budget-bytes",
		fmt.Sprintf("memory that peers may cost; short of it the largest holders are closed with 1013\n(default %d here; environment WS_MEMORY_BUDGET_BYTES)", engine.DefaultMemoryBudget()))
	f.Var(origins{&s.allowOrigins}, "allow-origin",
		"origin of web pages that may connect, besides the server's own;\nlike https://*.example.com, or * for all; repeatable")
	f.Var(hostPort{&s.metrics}, "metrics-addr",
		"address like 127.0.0.1:9100 to serve Prometheus metrics on, at /metrics; port 0 picks a free one\n(default off; environment WS_METRICS_ADDR)")
	f.Var(prefixes{&s.trustedProxies}, "trusted-proxy",
		"addresses of proxies whose X-Forwarded-For and -Proto are believed;\nlike 10.0.0.0/8; repeatable")
}

// engineConfig puts the flags over the environment. Its errors are *UsageError.
func (s *settings) engineConfig(logger *slog.Logger) (engine.Config, error) {
	cfg, err := engine.ConfigFromEnv()
	if err != nil {
		return cfg, usage(err)
	}
	given(&cfg.MaxMessageBytes, s.maxMessageBytes)
	given(&cfg.SendChunkBytes, s.sendChunkBytes)
	if s.io != 0 {
		cfg.IO = s.io
	}
	given(&cfg.Loops, s.loops)
	given(&cfg.Workers, s.workers)
	given(&cfg.MemoryBudgetBytes, s.memoryBudget)
	cfg.Compress = cfg.Compress || s.compress
	cfg.AllowedOrigins = s.allowOrigins
	cfg.TrustedProxies = s.trustedProxies
	cfg.Logger = logger
	if err := cfg.Validate(); err != nil { // settings that contradict each other
		return cfg, usagef("environment and flags: %w", err)
	}
	return cfg, nil
}

// given sets a field to a flag's value if the flag was given.
func given(field *int, flag int) {
	if flag != 0 {
		*field = flag
	}
}
