package engine_test

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestConfigZeroIsValid(t *testing.T) {
	require.NoError(t, engine.Config{}.Validate())
}

// Every mistake is found, and names its field.
func TestConfigMistakes(t *testing.T) {
	for field, cfg := range map[string]engine.Config{
		"MaxMessageBytes":   {MaxMessageBytes: -1},
		"SendChunkBytes":    {SendChunkBytes: 124},
		"HighWaterBytes":    {HighWaterBytes: -1},
		"LowWaterBytes":     {HighWaterBytes: 100, LowWaterBytes: 100},
		"CorkBytes":         {CorkBytes: -1},
		"ReadBufferBytes":   {ReadBufferBytes: 4095},
		"InboxMessages":     {InboxMessages: -1},
		"InboxBytes":        {InboxBytes: -1},
		"Workers":           {Workers: -1},
		"MaxBackground":     {MaxBackground: -1},
		"SendClass.Code":    {SendClass: &backpressure.Class{Code: 1006}},
		"MemoryBudgetBytes": {MaxMessageBytes: 1000, MemoryBudgetBytes: 4<<20 - 1},
		"Budget.Limit()":    {MaxMessageBytes: 1000, Budget: backpressure.NewBudget(1<<20 - 1)},
		"IdleTimeout":       {IdleTimeout: time.Second, PingInterval: time.Second},
		"CloseTimeout":      {CloseTimeout: -1},
		"HandshakeTimeout":  {HandshakeTimeout: -1},
		"ShutdownTimeout":   {ShutdownTimeout: -1},
		"ShutdownSpread":    {ShutdownSpread: -1},
		"AllowedOrigins[1]": {AllowedOrigins: []string{"*", "https://example.com/path"}},
		"AllowedOrigins[0]": {AllowedOrigins: []string{""}},
		"TrustedProxies[1]": {TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/96"), netip.MustParsePrefix("::ffff:10.0.0.0/95")}},
		"TrustedProxies[0]": {TrustedProxies: make([]netip.Prefix, 1)},
		"Interceptors[0]":   {Interceptors: []interceptors.Interceptor{nil}},
	} {
		require.Contains(t, mistakes(cfg.Validate()), field)
		_, err := engine.New(cfg, onMessage(echo))
		require.Contains(t, mistakes(err), field)
	}
	beyond := math.MaxInt32 // of what a peer may send in a second
	if beyond++; beyond > 0 {
		rates := engine.Config{ControlFramesPerSecond: beyond, MessagesPerSecond: beyond, BytesPerSecond: beyond}
		require.ElementsMatch(t, []string{"ControlFramesPerSecond", "MessagesPerSecond", "BytesPerSecond"}, mistakes(rates.Validate()))
	}
	over := engine.Config{MaxMessageBytes: 1<<30 + 1, ReadBufferBytes: 1<<20 + 1}
	require.ElementsMatch(t, []string{"MaxMessageBytes", "ReadBufferBytes", "InboxBytes"}, mistakes(over.Validate()), "InboxBytes follows MaxMessageBytes")
	joined := engine.Config{Workers: -1, SendChunkBytes: 1, CloseTimeout: -1, AllowedOrigins: []string{"a b"}}
	require.ElementsMatch(t, []string{"Workers", "SendChunkBytes", "CloseTimeout", "AllowedOrigins[0]"}, mistakes(joined.Validate()))
}

// mistakes returns the fields of all ConfigErrors in err.
func mistakes(err error) (fields []string) {
	for _, e := range leaves(err) {
		if c, ok := errors.AsType[*engine.ConfigError](e); ok && c.Allowed != "" {
			fields = append(fields, c.Field)
		}
	}
	return fields
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, leaves(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return leaves(inner)
		}
	}
	return []error{err}
}

// New copies its configuration.
func TestConfigIsCopied(t *testing.T) {
	cfg := engine.Config{
		AllowedOrigins: []string{"https://example.com"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Interceptors:   []interceptors.Interceptor{stamp("a")},
	}
	ep := onMessage(echo)
	ep.Subprotocols = []string{"one"}
	ep.Interceptors = []interceptors.Interceptor{stamp("b")}
	s := enginetest.Start(t, cfg, ep)
	cfg.AllowedOrigins[0] = "*"
	cfg.TrustedProxies[0] = netip.MustParsePrefix("127.0.0.0/8")
	cfg.Interceptors[0], ep.Interceptors[0] = stamp("x"), stamp("x")
	ep.Subprotocols[0] = "other"
	require.Equal(t, 403, s.Request(enginetest.Handshake{Header: map[string][]string{"Origin": {"https://evil.example"}}}).StatusCode)
	require.Equal(t, 403, s.Request(enginetest.Handshake{Header: map[string][]string{
		"Host": {"example.org"}, "Origin": {"https://example.org"}, "X-Forwarded-Proto": {"https"},
	}}).StatusCode)
	c := s.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Protocol": {"one, other"}}})
	require.Equal(t, "one", c.Response.Header.Get("Sec-WebSocket-Protocol"))
	c.SendText("m")
	require.Equal(t, "m<a<b>b>a", c.ReadText())
	c.Hangup()
	require.Equal(t, []string{"https://example.com"}, s.Engine.AllowedOrigins())
	s.Handle("/later", onMessage(echo))
	c = s.DialWith(enginetest.Handshake{Target: "/later"})
	c.SendText("m")
	require.Equal(t, "m<a>a", c.ReadText(), "an endpoint that is made later")
	c.Hangup()
}

// documented returns the environment variable of each field of Config, as its
// comment has it.
func documented(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	require.NoError(t, err)
	list := regexp.MustCompile(`Environment:\s+([A-Z_,\s]+)\.`)
	names := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		var open []string // names whose field is still to come
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			if m := list.FindStringSubmatch(f.Doc.Text()); m != nil {
				for _, name := range strings.Split(m[1], ",") {
					open = append(open, strings.TrimSpace(name))
				}
			}
			if len(open) > 0 {
				names[f.Names[0].Name], open = open[0], open[1:]
			}
		}
		return false
	})
	return names
}

// EnvNames has what the fields' comments have.
func TestEnvNames(t *testing.T) {
	var want []string
	for _, name := range documented(t) {
		want = append(want, name)
	}
	require.ElementsMatch(t, want, engine.EnvNames())
}

// Every documented variable sets its field, and no other is read.
func TestConfigEnvironment(t *testing.T) {
	names := documented(t)
	require.Equal(t, "MAX_WS_MESSAGE_BYTES", names["MaxMessageBytes"])
	require.Equal(t, "WS_SEND_CHUNK_BYTES", names["SendChunkBytes"])
	require.Equal(t, "WS_INBOX_BYTES", names["InboxBytes"])

	source, err := os.ReadFile("env.go")
	require.NoError(t, err)
	read := regexp.MustCompile(`"((?:MAX_)?WS_[A-Z_]+)"`).FindAllStringSubmatch(string(source), -1)
	var known []string
	for _, m := range read {
		known = append(known, m[1])
	}
	require.ElementsMatch(t, known, slices.Collect(maps.Values(names)))

	for field, name := range names {
		t.Run(name, func(t *testing.T) {
			empty, err := engine.ConfigFromEnv()
			require.NoError(t, err)
			require.Equal(t, engine.Config{}, empty)
			number := cmp.Or(map[string]string{"WS_MEMORY_BUDGET_BYTES": "5000000", "WS_COMPRESS_LEVEL": "5", "WS_COMPRESS": "on", "WS_IO": "epoll"}[name], "5000")
			value := reflect.ValueOf(empty).FieldByName(field)
			if value.Type() == reflect.TypeFor[time.Duration]() {
				t.Setenv(name, "1h1m")
			} else {
				t.Setenv(name, number)
			}
			cfg, err := engine.ConfigFromEnv()
			require.NoError(t, err)
			got := reflect.ValueOf(&cfg).Elem().FieldByName(field)
			switch got.Kind() {
			case reflect.Int64:
				require.Equal(t, int64(61*time.Minute), got.Int())
			case reflect.Bool:
				require.True(t, got.Bool())
			case reflect.Uint8:
				require.Equal(t, engine.IOLoops, cfg.IO)
			default:
				require.Equal(t, number, fmt.Sprint(got.Int()))
			}
			got.SetZero()
			require.Equal(t, engine.Config{}, cfg, "it set another field, too")

			for _, bad := range []string{"banana", "-1", "0", " 5000", "5000.5", "99999999999999999999"} {
				t.Setenv(name, bad)
				cfg, err := engine.ConfigFromEnv()
				require.Equal(t, []engine.EnvError{{Name: name, Value: bad}}, envErrors(err), bad)
				require.Equal(t, engine.Config{}, cfg)
			}
			t.Setenv(name, "")
			_, err = engine.ConfigFromEnv()
			require.NoError(t, err, "empty is like unset")
		})
	}
}

// envErrors returns all EnvErrors in err, without what is allowed, which must
// not be empty.
func envErrors(err error) (list []engine.EnvError) {
	for _, one := range leaves(err) {
		if e, ok := errors.AsType[*engine.EnvError](one); ok && e.Allowed != "" {
			list = append(list, engine.EnvError{Name: e.Name, Value: e.Value})
		}
	}
	return list
}

// All mistakes come at once; the message has variable, value and what is allowed.
func TestConfigEnvironmentJoined(t *testing.T) {
	t.Setenv("MAX_WS_MESSAGE_BYTES", "banana")
	t.Setenv("WS_SEND_CHUNK_BYTES", "-1")
	t.Setenv("WS_IDLE_TIMEOUT", "soon")
	t.Setenv("WS_WORKERS", "3")
	cfg, err := engine.ConfigFromEnv()
	require.Equal(t, []engine.EnvError{
		{Name: "MAX_WS_MESSAGE_BYTES", Value: "banana"}, {Name: "WS_SEND_CHUNK_BYTES", Value: "-1"}, {Name: "WS_IDLE_TIMEOUT", Value: "soon"},
	}, envErrors(err))
	require.Equal(t, 3, cfg.Workers)
	one := leaves(err)[0].Error()
	require.Contains(t, one, "MAX_WS_MESSAGE_BYTES")
	require.Contains(t, one, "banana")
	require.Contains(t, one, "1073741824")
	require.NotContains(t, one, "\n")
}

// What the documentation says can be switched off can be, by "off"; the rest cannot.
func TestConfigEnvironmentOff(t *testing.T) {
	off := map[string]bool{"WS_PING_INTERVAL": true, "WS_IDLE_TIMEOUT": true, "WS_WRITE_STALL_TIMEOUT": true, "WS_STREAM_STALL_TIMEOUT": true,
		"WS_MIN_RECEIVE_RATE": true, "WS_CONTROL_FRAMES_PER_SECOND": true, "WS_MESSAGES_PER_SECOND": true, "WS_BYTES_PER_SECOND": true,
		"WS_MAX_CONNECTIONS": true, "WS_MAX_CONNECTIONS_PER_ADDRESS": true, "WS_UPGRADES_PER_SECOND": true}
	for field, name := range documented(t) {
		t.Setenv(name, "off")
		cfg, err := engine.ConfigFromEnv()
		if name == "WS_COMPRESS" || name == "WS_SHUTDOWN_SPREAD" { // off is the default
			require.NoError(t, err)
			require.Equal(t, engine.Config{}, cfg)
		} else if off[name] {
			require.NoError(t, err)
			require.Negative(t, reflect.ValueOf(cfg).FieldByName(field).Int())
			require.NoError(t, cfg.Validate())
		} else {
			require.NotEmpty(t, envErrors(err), name)
		}
		t.Setenv(name, "")
	}
}

// What the environment takes, Validate takes: the bounds are the same.
func TestConfigEnvironmentBounds(t *testing.T) {
	for name, bounds := range map[string][2]string{
		"MAX_WS_MESSAGE_BYTES": {"1", "1073741824"},
		"WS_SEND_CHUNK_BYTES":  {"125", "1073741824"},
		"WS_HIGH_WATER_BYTES":  {"2", "1073741824"},
		"WS_READ_BUFFER_BYTES": {"4096", "1048576"},
		"WS_INBOX_MESSAGES":    {"1", "1048576"},
		"WS_WORKERS":           {"1", "1048576"},
		"WS_MAX_BACKGROUND":    {"1", "16777216"},
	} {
		for _, v := range bounds {
			t.Setenv(name, v)
			cfg, err := engine.ConfigFromEnv()
			require.NoError(t, err)
			require.NoError(t, cfg.Validate(), "%s=%s", name, v)
		}
		t.Setenv(name, "")
	}
}

// Settings shows every variable, with the value that would set the same again.
func TestConfigSettings(t *testing.T) {
	for _, cfg := range []engine.Config{
		{},
		{MaxMessageBytes: 500, Compress: true, IO: engine.IOLoops, PingInterval: -1, IdleTimeout: time.Minute, MessagesPerSecond: 7, ControlFramesPerSecond: -1, ShutdownSpread: time.Second},
	} {
		values := make(map[string]string)
		for _, s := range cfg.Settings() {
			values[s.Name] = s.Value
		}
		require.Len(t, values, len(engine.EnvNames()))
		again, err := engine.ConfigFrom(func(name string) string { return values[name] })
		require.NoError(t, err)
		require.Equal(t, cfg.Settings(), again.Settings())
	}
	values := engine.Config{WriteStallTimeout: -1, Workers: 3}.Settings()
	require.Contains(t, values, engine.Setting{Name: "WS_WRITE_STALL_TIMEOUT", Value: "off"})
	require.Contains(t, values, engine.Setting{Name: "WS_WORKERS", Value: "3"})
	require.Contains(t, values, engine.Setting{Name: "WS_PING_INTERVAL", Value: "30s"})
}

// Each environment variable is read when it is asked for, and only then.
func TestConfigEnvironmentIsNotReadByItself(t *testing.T) {
	t.Setenv("MAX_WS_MESSAGE_BYTES", "banana")
	e, err := engine.New(engine.Config{}, onMessage(echo))
	require.NoError(t, err)
	require.NoError(t, e.Shutdown(t.Context()))
}
