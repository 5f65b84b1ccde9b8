package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProfile(t *testing.T) {
	m, err := parseProfile([]byte(`{
		"groups": [
			{"name": "chat", "connections": 500, "payload": 200, "text": true, "rate": 2000, "rate_to": 3000, "poisson": true},
			{"connections": 4, "payload": 1048576, "pipeline": 2, "compress": true}
		],
		"beside": [{"kind": "reset", "count": 5}],
		"warmup": "1s", "duration": "1500ms"
	}`))
	require.NoError(t, err)
	require.Equal(t, Mixed{
		Groups: []Group{
			{Name: "chat", Connections: 500, PayloadBytes: 200, Text: true, Pace: Pace{2000, 3000, true}},
			{Name: "group 2", Connections: 4, PayloadBytes: 1 << 20, InFlight: 2, Compress: true},
		},
		Beside: []Hostile{{HostileReset, 5}},
		Warmup: time.Second, Duration: 1500 * time.Millisecond,
	}, m)

	m, err = parseProfile([]byte(`{"groups": [{}]}`))
	require.NoError(t, err)
	require.Equal(t, []time.Duration{time.Second, 5 * time.Second}, []time.Duration{m.Warmup, m.Duration}, "as the commands have it")
	m, err = parseProfile([]byte(`{"groups": [{}], "warmup": "0s"}`))
	require.NoError(t, err)
	require.Zero(t, m.Warmup)
}

func TestProfileRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.json")
	for text, why := range map[string]string{
		"":                                       "EOF",
		"{\n\"group\":[]}":                       `line 2: json: unknown field "group"`,
		"{}":                                     "Groups is empty",
		`{"groups":[{}]} x`:                      "something follows",
		"{\n\n\"groups\":[{\"payload\":\"x\"}]}": "line 3",
		`{"groups":[{}],"warmup":"soon"}`:        "allowed: a duration",
		`{"groups":[{},{"payload":-1}]}`:         "Groups[1].PayloadBytes is -1",
		`{"groups":[{}],"beside":[{"kind":"nice"}]}`:               "allowed: one of",
		`{"groups":[{"connections":50000},{"connections":50000}]}`: "Connections is 100000",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := ReadProfile(path)
		require.ErrorContains(t, err, why, "%s", text)
		require.ErrorContains(t, err, path)
	}
	_, err := ReadProfile(path + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMixedGroups(t *testing.T) {
	require.NoError(t, Mixed{Groups: make([]Group, MaxGroups)}.Validate())
	require.ErrorContains(t, Mixed{Groups: make([]Group, MaxGroups+1)}.Validate(), "Groups is 101; allowed: at most 100")
}

// Each group does what it is told, and has figures of its own.
func TestMixed(t *testing.T) {
	for _, tls := range transports() {
		m := Mixed{Groups: []Group{
			{Name: "quick", Connections: 2, PayloadBytes: 9},
			{Name: "paced", Connections: 3, PayloadBytes: 4000, Text: true, Pace: Pace{Rate: 300}},
			{Name: "packed", Connections: 1, Compress: true},
		}, Duration: 500 * time.Millisecond, Settle: time.Second}
		r, err := m.Run(t.Context(), serve(t, tls, echoAll), nil)
		require.NoError(t, err)
		require.Empty(t, r.Failures)
		require.Len(t, r.Groups, 3)
		require.Equal(t, BothLoops, r.LatencyMode)
		require.Equal(t, OpenLoop, r.Groups[1].LatencyMode)
		require.InDelta(t, 300*float64(r.WindowNS)/1e9, r.Groups[1].Messages+r.Groups[1].Owed, 3)
		require.Equal(t, r.Messages, r.Groups[0].Messages+r.Groups[1].Messages+r.Groups[2].Messages)
		for _, g := range r.Groups {
			require.Positive(t, g.Latency.P50)
			require.Equal(t, g.Settings["payload"], map[string]int{"quick": 9, "paced": 4000, "packed": 128}[g.Name])
		}
	}
}
