package connect

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// settings is what the flags say. A zero has not been given.
type settings struct {
	header       http.Header
	subprotocols []string
	origin       string
	user         string
	insecure     bool
	route        route
	timeout      time.Duration
	reconnect    bool

	text, binary bool
	whole        bool
	raw, json    bool
	verbose      bool
	compress     bool

	maxMessageBytes int
	ping            time.Duration // negative: off
	wait            time.Duration // negative: forever
	count           int
}

const (
	defaultMaxMessage = 1 << 20
	largestSize       = 1 << 30 // of engine.Config
	defaultPing       = 30 * time.Second
)

func (s *settings) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.VarP(headers{&s.header}, "header", "H", `header line of the request, like "Name: value", or @file with some; repeatable`)
	f.VarP(texts{&s.subprotocols}, "subprotocol", "s", "subprotocol to offer, the preferred first; repeatable")
	f.Var(word{p: &s.origin, kind: "origin", means: "an origin like https://example.com"}, "origin", "Origin header, as a browser would send it")
	f.Var(word{p: &s.user, kind: "user", means: "a user's name without a colon; the password is read from WS_PASSWORD or asked for", bars: ":"},
		"auth", "user to authenticate as; the password is that in WS_PASSWORD, or asked for")
	f.BoolVarP(&s.insecure, "insecure", "k", false, "accept any certificate")
	f.Var(routes{&s.route}, "proxy", "http or https proxy to tunnel through, or none\n(default: HTTP_PROXY, HTTPS_PROXY and NO_PROXY)")
	f.Var(flagvalue.Span(&s.timeout, time.Millisecond, time.Hour, ""), "timeout", "longest that connecting may take, with the handshake (default 10s)")
	f.BoolVar(&s.reconnect, "reconnect", false, "connect again, later each time, when the connection is lost or there is none,\nunless the server says that it is of no use; what is to be sent waits")
	f.BoolVar(&s.compress, "compress", false, "offer permessage-deflate")
	f.BoolVar(&s.text, "text", false, "send text messages (the default)")
	f.BoolVar(&s.binary, "binary", false, "send binary messages")
	f.BoolVar(&s.whole, "whole", false, "send all of standard input as one message")
	f.BoolVar(&s.raw, "raw", false, "write messages as they are: nothing quoted, no line break behind them")
	f.BoolVar(&s.json, "json", false, "write one JSON object for each event instead of messages")
	f.Var(flagvalue.Span(&s.wait, 0, 24*time.Hour, "forever"), "wait", "when the input has ended, close only after so long without a message, or forever:\nwhen the server does (default 0s; with --count forever)")
	f.VarP(flagvalue.Number(&s.count, 1, 1<<30), "count", "n", "close when so many messages have come")
	f.Var(flagvalue.Span(&s.ping, 100*time.Millisecond, time.Hour, "off"), "ping", "silence after which the server is pinged; after two and a half times as much without\nanything from it the connection is ended with 1001 (default 30s)")
	f.Var(flagvalue.Number(&s.maxMessageBytes, 1, largestSize), "max-message-bytes", "largest message in either direction; a larger one that comes closes with 1009\n(default 1048576)")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "show the connection's opening and end, pings and pongs, on standard error")
}

// check fills in defaults, and refuses what contradicts itself.
func (s *settings) check() error {
	switch {
	case s.text && s.binary:
		return usagef("--text and --binary: allowed is one of them")
	case s.raw && s.json:
		return usagef("--raw and --json: allowed is one of them")
	case s.origin != "" && s.header.Get("Origin") != "":
		return usagef("--origin and a header Origin: allowed is one of them")
	case s.user != "" && s.header.Get("Authorization") != "":
		return usagef("--auth and a header Authorization: allowed is one of them")
	}
	if s.maxMessageBytes == 0 {
		s.maxMessageBytes = defaultMaxMessage
	}
	if s.ping == 0 {
		s.ping = defaultPing
	}
	return nil
}

// opcode is the type of what is sent.
func (s *settings) opcode() frame.Opcode {
	if s.binary {
		return frame.Binary
	}
	return frame.Text
}

// engineConfig has the limits of a client whose user has chosen the server, and who can
// interrupt it: neither slowness nor pings end the connection.
func (s *settings) engineConfig() engine.Config {
	idle := time.Duration(-1)
	if s.ping > 0 {
		idle = s.ping * 5 / 2
	}
	return engine.Config{
		MaxMessageBytes:        s.maxMessageBytes,
		HighWaterBytes:         largestSize, // out of the way of mostQueued
		Compress:               s.compress,
		HandshakeTimeout:       s.timeout,
		PingInterval:           s.ping,
		IdleTimeout:            idle,
		WriteStallTimeout:      -1,
		MinReceiveRate:         -1,
		ControlFramesPerSecond: -1,
		Logger:                 slog.New(slog.DiscardHandler), // what is to be known is in the errors
	}
}

// dialConfig leaves Engine, Endpoint's handler and interceptors, and Proxy to others.
func (s *settings) dialConfig(password string) engine.DialConfig {
	header := s.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if s.origin != "" {
		header.Set("Origin", s.origin)
	}
	if s.user != "" {
		r := http.Request{Header: header}
		r.SetBasicAuth(s.user, password)
	}
	cfg := engine.DialConfig{Header: header, Endpoint: engine.Endpoint{Subprotocols: s.subprotocols}}
	if s.insecure {
		cfg.TLS = &tls.Config{InsecureSkipVerify: true} // has been asked for
	}
	return cfg
}
