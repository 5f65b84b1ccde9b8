package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was measured is what is read, down to the last point.
func TestFile(t *testing.T) {
	e := short(Echo{Connections: 3, InFlight: 2, Duration: 350 * time.Millisecond})
	r, err := e.Run(t.Context(), serve(t, false, echoAll), nil)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "a.json")
	out, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, NewFile(r, r).Write(out))
	require.NoError(t, out.Close())
	f, err := ReadFile(path)
	require.NoError(t, err)
	require.Len(t, f.Results, 2)
	require.Equal(t, r.Series, f.Results[1].Series)
	require.Equal(t, r.Histogram, f.Results[1].Histogram)
	require.Equal(t, "echo: 3 connections, 2 in flight on each, 128 bytes binary", f.Results[0].Name)
}

// The intervals make up the window: no message is missing or twice there.
func TestSeries(t *testing.T) {
	e := short(Echo{Connections: 3, InFlight: 2, Duration: 350 * time.Millisecond})
	r, err := e.Run(t.Context(), serve(t, false, echoAll), nil)
	require.NoError(t, err)
	require.Len(t, r.Series, 4)
	var messages, slowest, end int64
	for _, p := range r.Series {
		require.Greater(t, p.End, end)
		require.Positive(t, p.ClientCPU)
		end = p.End
		messages += p.Messages
		slowest = max(slowest, p.Slowest)
	}
	require.Equal(t, r.Messages, messages)
	require.Equal(t, r.Latency.Max, slowest)
	require.Equal(t, r.WindowNS, end)
}

func TestFileRefused(t *testing.T) {
	for text, why := range map[string]string{
		"":                              "is no result file",
		`[]`:                            "is no result file",
		`{"schema":1,"results":[{}]}`:   "has schema 1; this version reads 2",
		`{"schema":2,"results":[]}`:     "holds no results",
		`{"schema":2,"results":[null]}`: "result 1 has no name",
	} {
		path := filepath.Join(t.TempDir(), "a.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := ReadFile(path)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, path)
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "absent.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
