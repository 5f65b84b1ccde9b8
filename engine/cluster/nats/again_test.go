package nats

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// TestAppendInDoubt: a batch that the stream has taken, without the archive having heard
// of it, is found, also behind others.
func TestAppendInDoubt(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	require.NoError(t, err)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.True(t, s.ReadyForConnections(20*time.Second))
	b, err := New(Config{URL: s.ClientURL()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended, live := make(chan struct{}), make(chan struct{})
	b.Subscribe("probe")
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, cluster.Events{Received: func(cluster.Message) {}, Live: func(string) { close(live) }, Lost: func(error) {}})
	}()
	defer func() { cancel(); <-ended }()
	<-live

	a := b.Archive(ArchiveConfig{})
	batch := func(by string, number uint64) cluster.Batch {
		return cluster.Batch{By: by, Number: number, Limits: hub.History{Messages: 10}, Messages: []cluster.Kept{{When: time.Now(), Type: frame.Text}}}
	}
	_, err = a.Append(ctx, "c", batch("x", 1))
	require.NoError(t, err)
	on, err := a.open(ctx)
	require.NoError(t, err)
	a.attempted([2]string{"c", "x"}, "x.2")
	lost, err := a.appendOnce(ctx, on, "c", "x.2", batch("x", 2)) // whose answer is lost
	require.NoError(t, err)
	_, err = a.Append(ctx, "c", batch("y", 1))
	require.NoError(t, err)
	found, err := a.Append(ctx, "c", batch("x", 2))
	require.NoError(t, err)
	require.Equal(t, lost, found)
	page, err := a.Read(ctx, "c", 0)
	require.NoError(t, err)
	require.Len(t, page.Messages, 3)
}

func FuzzParseRecord(f *testing.F) {
	f.Add(record{first: hub.Position{Epoch: 1, Seq: 2}, by: "x.1", messages: []cluster.Kept{{When: time.UnixMilli(5), Type: frame.Text, Payload: []byte("p")}}}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := parseRecord(b); ok {
			require.Equal(t, b, r.append(nil), "what is taken is what is written")
		}
	})
}
