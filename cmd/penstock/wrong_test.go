package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A wrong is what a setting must not be.
type wrong struct {
	flag   string   // empty: there is none
	env    string   // empty: the field in upper case
	list   bool     // a file has a list of it
	secret bool     // no error shows the value
	value  string   // no value for it, wherever it stands
	says   []string // what the error says, besides where and which value
	with   []string // more arguments, with which a good value would do
}

// wrongs has a value for each setting. A new setting needs one here, or TestEveryWrongSetting
// fails.
func wrongs(t *testing.T) map[string]wrong {
	good := newPair(t)
	good.write(t, 1)
	const bytes, count, interval = "bytes-1", "-7", "fast"
	number := func(flag, value, least string) wrong {
		return wrong{flag: flag, value: value, says: []string{"a whole number from " + least + " to "}}
	}
	rate := wrong{value: "-1", says: []string{`a whole number from 1 to `, `"off"`}}
	span := wrong{value: interval, says: []string{"a positive duration", "30s"}}
	endless := wrong{value: interval, says: []string{"a positive duration", "30s", `"off"`}}
	toggle := func(flag, env string) wrong {
		return wrong{flag: flag, env: env, value: "perhaps", says: []string{"allowed is "}}
	}
	text := func(flag, env, value string, says ...string) wrong {
		return wrong{flag: flag, env: env, value: value, says: says}
	}
	list := func(w wrong) wrong { w.list = true; return w }
	return map[string]wrong{
		"port":            text("--port", "WS_PORT", "65536", "a whole number from 0 to 65535"),
		"host":            text("--host", "WS_HOST", "no/host", "a host name or an IP address"),
		"cert":            {flag: "--cert", env: "WS_CERT", value: "no-such.pem", with: []string{"--key", good.key}, says: []string{"no such file"}},
		"key":             {flag: "--key", env: "WS_KEY", value: good.cert, with: []string{"--cert", good.cert}, says: []string{"private key"}},
		"filters":         list(text("--filter", "WS_FILTERS", "brodcast_messages", "did you mean broadcast_messages?")),
		"inline":          toggle("--inline", "WS_INLINE"),
		"manifest":        text("--manifest", "WS_MANIFEST", "no-such.json", "no such file"),
		"page":            toggle("--page", "WS_PAGE"),
		"redis":           {flag: "--redis", env: "WS_REDIS_URL", secret: true, value: "http://u:hush@h", says: []string{"redis://host:6379/0"}},
		"nats":            {flag: "--nats", env: "WS_NATS_URL", secret: true, value: "http://u:hush@h", says: []string{"nats://host:4222"}},
		"redis_channels":  {flag: "--redis-channels", env: "WS_REDIS_CHANNELS", list: true, value: "a*", says: []string{"names of channels"}},
		"redis_key":       text("--redis-key", "WS_REDIS_KEY", ".", "the name of a channel"),
		"live_token":      {env: "WS_LIVE_TOKEN", secret: true, value: "sh0rt", says: []string{"at least 16"}},
		"slug_prefix":     toggle("--slug-prefix", "WS_SLUG_PREFIX"),
		"allow_origins":   list(text("--allow-origin", "WS_ALLOW_ORIGINS", "https://a/path", `"https://*.example.com"`)),
		"trusted_proxies": list(text("--trusted-proxy", "WS_TRUSTED_PROXIES", "10.0.0.0/33", "a network like 10.0.0.0/8")),
		"tokens":          {env: "WS_TOKENS", list: true, secret: true, value: "s3cret", says: []string{"a list of user=token"}},
		"log_format":      text("--log-format", "WS_LOG_FORMAT", "xml", "text or json"),
		"log_level":       text("--log-level", "WS_LOG_LEVEL", "loud", "debug, info, warn or error"),
		"metrics_addr":    text("--metrics-addr", "WS_METRICS_ADDR", "9100", "a host and a port, like 127.0.0.1:9100"),
		"pprof_addr":      text("--pprof-addr", "WS_PPROF_ADDR", "0.0.0.0:6060", "a loopback address and a port"),

		"max_ws_message_bytes":           number("--max-message-bytes", "1MiB", "1"),
		"ws_send_chunk_bytes":            number("--send-chunk-bytes", "124", "125"),
		"ws_max_connections":             {flag: "--max-connections", value: "-1", says: rate.says},
		"ws_memory_budget_bytes":         number("--memory-budget-bytes", bytes, "4194304"),
		"ws_workers":                     number("--workers", "0", "1"),
		"ws_io":                          text("--io", "", "magic", "goroutine", "epoll"),
		"ws_loops":                       number("--loops", count, "1"),
		"ws_compress":                    toggle("--compress", ""),
		"ws_shutdown_spread":             {flag: "--drain-window", value: "soon", says: endless.says},
		"ws_compress_level":              number("", "10", "1"),
		"ws_compress_min_bytes":          number("", bytes, "1"),
		"ws_high_water_bytes":            number("", "1", "2"),
		"ws_low_water_bytes":             number("", "0", "1"),
		"ws_cork_bytes":                  number("", bytes, "1"),
		"ws_read_buffer_bytes":           number("", "100", "4096"),
		"ws_inbox_messages":              number("", count, "1"),
		"ws_inbox_bytes":                 number("", bytes, "1"),
		"ws_max_fragments":               number("", count, "1"),
		"ws_min_receive_rate":            rate,
		"ws_control_frames_per_second":   rate,
		"ws_messages_per_second":         rate,
		"ws_bytes_per_second":            rate,
		"ws_max_connections_per_address": rate,
		"ws_upgrades_per_second":         rate,
		"ws_max_background":              number("", "1e3", "1"),
		"ws_ping_interval":               endless,
		"ws_idle_timeout":                endless,
		"ws_write_stall_timeout":         endless,
		"ws_stream_stall_timeout":        endless,
		"ws_close_timeout":               span,
		"ws_handshake_timeout":           span,
		"ws_shutdown_timeout":            span,
	}
}

// TestEveryWrongSetting: whichever setting is wrong, wherever it stands, there is one line that
// names it, its value and what is allowed, the status is 2, and nothing has been started.
func TestEveryWrongSetting(t *testing.T) {
	table := wrongs(t)
	require.ElementsMatch(t, slices.Collect(maps.Keys(holds(t, nil))), slices.Collect(maps.Keys(table)), "the settings that there are")
	_, help, _ := outcome(t, nil, "serve", "-h")
	flags := []string{"--config", "--print-config", "--help"}
	for _, w := range table {
		if w.flag != "" {
			flags = append(flags, w.flag)
		}
	}
	require.ElementsMatch(t, regexp.MustCompile(`(?m)--[a-z-]+`).FindAllString(flagsOf(help), -1), flags, "the flags that there are")
	for field, w := range table {
		if w.env == "" {
			w.env = strings.ToUpper(field)
		}
		require.Regexp(t, `\b`+w.env+`\b`, help)
		fails := func(t *testing.T, where string, env []string, args ...string) {
			t.Parallel()
			status, stdout, stderr := outcome(t, env, append(append([]string{"serve", "-p=0"}, w.with...), args...)...)
			requireOneLine(t, stderr, append([]string{where}, w.says...)...)
			require.Equal(t, 2, status)
			require.Empty(t, stdout)
			if w.secret {
				require.NotContains(t, stderr, w.value)
			} else {
				require.Contains(t, stderr, w.value)
			}
		}
		t.Run(field+"/environment", func(t *testing.T) { fails(t, w.env, []string{w.env + "=" + w.value}) })
		t.Run(field+"/file", func(t *testing.T) {
			var value any = w.value
			if w.list {
				value = []string{w.value}
			}
			text, err := json.Marshal(map[string]any{field: value})
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			fails(t, path+":1", nil, "-c", path)
		})
		if w.flag != "" {
			t.Run(field+"/flag", func(t *testing.T) { fails(t, w.flag, nil, w.flag+"="+w.value) })
		}
	}
}

// TestNothingIsNoValue: no setting takes an empty value, nor what JSON has besides texts,
// numbers and lists.
func TestNothingIsNoValue(t *testing.T) {
	for field, w := range wrongs(t) {
		for _, value := range []string{`""`, `null`, `{}`, `[]`, `[null]`, `[""]`, `1e999`} {
			t.Run(field+"/file/"+value, func(t *testing.T) {
				t.Parallel()
				path := file(t, "config.json", `{"`+field+`": `+value+`}`)
				status, stdout, stderr := outcome(t, nil, "serve", "-p=0", "-c", path)
				requireOneLine(t, stderr, path+":1", field, "allowed is ")
				require.Equal(t, 2, status)
				require.Empty(t, stdout)
			})
		}
		if w.flag != "" {
			t.Run(field+"/flag", func(t *testing.T) {
				t.Parallel()
				status, stdout, stderr := outcome(t, nil, "serve", "-p=0", w.flag+"=")
				requireOneLine(t, stderr, w.flag)
				require.Equal(t, 2, status)
				require.Empty(t, stdout)
			})
		}
	}
}

// flagsOf returns what the help lists, line by line, without what it says of it.
func flagsOf(help string) string {
	return strings.Join(regexp.MustCompile(`(?m)^ {2,6}(-\w, )?--[a-z-]+`).FindAllString(help, -1), "\n")
}
