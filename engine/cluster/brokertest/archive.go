package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Archive tests an archive against what cluster.Archive says.
func Archive(t *testing.T, start func(t testing.TB) Harness) {
	h := start(t)
	_, archive := h.open(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, a *shelf)
	}{
		{"numbers without gaps", archiveNumbers},
		{"several at once", archiveTogether},
		{"a batch that comes again", archiveAgain},
		{"bounds", archiveBounds},
		{"an archive that goes back", archiveAnew},
		{"any bytes, in pages", archivePages},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, &shelf{t, archive, "penstock.room." + fmt.Sprint(shelves.Add(1))})
		})
	}
}

// A shelf is a channel of an archive.
type shelf struct {
	t       *testing.T
	archive cluster.Archive
	channel string
}

var ample = hub.History{Messages: 1000}.WithDefaults()

func (a *shelf) append(b cluster.Batch, payloads ...string) hub.Position {
	a.t.Helper()
	if b.Limits == (hub.History{}) {
		b.Limits = ample
	}
	for _, p := range payloads {
		b.Messages = append(b.Messages, cluster.Kept{When: time.Now(), Type: frame.Text, Payload: []byte(p)})
	}
	at, err := a.archive.Append(context.Background(), a.channel, b)
	require.NoError(a.t, err)
	return at
}

func (a *shelf) page(after uint64) cluster.Page {
	a.t.Helper()
	p, err := a.archive.Read(context.Background(), a.channel, after)
	require.NoError(a.t, err)
	return p
}

// all reads to the end and returns the payloads behind a number.
func (a *shelf) all(after uint64) (list []string) {
	a.t.Helper()
	for {
		p := a.page(after)
		if len(p.Messages) == 0 {
			return list
		}
		for _, m := range p.Messages {
			list = append(list, string(m.Payload))
		}
		after = p.First + uint64(len(p.Messages)) - 1
	}
}

func archiveNumbers(t *testing.T, a *shelf) {
	require.Equal(t, cluster.Page{}, a.page(0), "there is nothing")
	require.Zero(t, a.append(cluster.Batch{By: "x", Number: 1}), "nothing is begun for nothing")
	first := a.append(cluster.Batch{By: "x", Number: 2}, "one", "two")
	require.EqualValues(t, 1, first.Seq)
	require.NotZero(t, first.Epoch)
	require.Equal(t, hub.Position{Epoch: first.Epoch, Seq: 3}, a.append(cluster.Batch{By: "y", Number: 2}, "three"))
	require.Equal(t, []string{"one", "two", "three"}, a.all(0))
	require.Equal(t, []string{"three"}, a.all(2))
	p := a.page(3)
	require.Empty(t, p.Messages)
	require.Equal(t, hub.Position{Epoch: first.Epoch, Seq: 3}, p.Last)
	require.Empty(t, a.page(50).Messages)
}

func archiveTogether(t *testing.T, a *shelf) {
	const by, each = 4, 25
	var all sync.WaitGroup
	var mu sync.Mutex
	places := map[uint64]string{}
	for i := range by {
		all.Go(func() {
			for n := range each {
				text := fmt.Sprintf("%d-%d", i, n)
				at, err := a.archive.Append(context.Background(), a.channel, cluster.Batch{
					By: fmt.Sprint("by", i), Number: uint64(n + 1), Limits: ample,
					Messages: []cluster.Kept{{When: time.Now(), Type: frame.Text, Payload: []byte(text)}},
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				places[at.Seq] = text
				mu.Unlock()
			}
		})
	}
	all.Wait()
	list := a.all(0)
	require.Len(t, list, by*each)
	for i, text := range list {
		require.Equal(t, text, places[uint64(i+1)])
	}
}

func archiveAgain(t *testing.T, a *shelf) {
	b := cluster.Batch{By: "x", Number: 7}
	first := a.append(b, "one", "two")
	a.append(cluster.Batch{By: "y", Number: 7}, "three")
	require.Equal(t, first, a.append(b, "one", "two"), "it is where it was")
	require.Equal(t, []string{"one", "two", "three"}, a.all(0))
	require.EqualValues(t, 4, a.append(cluster.Batch{By: "x", Number: 8}, "four").Seq)
}

func archiveBounds(t *testing.T, a *shelf) {
	for i := range 30 {
		a.append(cluster.Batch{By: "x", Number: uint64(i + 1), Limits: hub.History{Messages: 3}.WithDefaults()}, fmt.Sprint(i))
	}
	list := a.all(0)
	require.GreaterOrEqual(t, len(list), 3)
	require.Equal(t, []string{"27", "28", "29"}, list[len(list)-3:])
	require.EqualValues(t, 30, a.page(0).Last.Seq)
}

// archiveAnew: numbers that a node has seen are not given again to other messages.
func archiveAnew(t *testing.T, a *shelf) {
	first := a.append(cluster.Batch{By: "x", Number: 1}, "one")
	seen := hub.Position{Epoch: first.Epoch, Seq: 5}
	again := a.append(cluster.Batch{By: "x", Number: 2, Seen: seen}, "two")
	require.NotEqual(t, first.Epoch, again.Epoch)
	require.EqualValues(t, 1, again.Seq)
	require.Equal(t, []string{"two"}, a.all(0))
	a.append(cluster.Batch{By: "y", Number: 1, Seen: seen}, "three")
	require.Equal(t, []string{"two", "three"}, a.all(0), "what has been seen of another epoch means nothing")
	a.append(cluster.Batch{By: "z", Number: 1, Seen: hub.Position{Epoch: again.Epoch, Seq: 9}})
	p := a.page(0)
	require.Empty(t, p.Messages)
	require.NotEqual(t, again.Epoch, p.Last.Epoch)
	require.Zero(t, p.Last.Seq)
	require.EqualValues(t, 1, a.append(cluster.Batch{By: "x", Number: 3}, "four").Seq)
}

func archivePages(t *testing.T, a *shelf) {
	when := time.UnixMilli(time.Now().UnixMilli())
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	_, err := a.archive.Append(context.Background(), a.channel, cluster.Batch{
		By: "x", Number: 1, Limits: ample,
		Messages: []cluster.Kept{{When: when, Type: frame.Binary, Payload: every}, {When: when, Type: frame.Text}},
	})
	require.NoError(t, err)
	p := a.page(0)
	require.Equal(t, every, p.Messages[0].Payload)
	require.Equal(t, frame.Binary, p.Messages[0].Type)
	require.True(t, when.Equal(p.Messages[0].When))
	require.Empty(t, p.Messages[1].Payload)
	require.Equal(t, frame.Text, p.Messages[1].Type)
	big := slices.Repeat([]string{string(slices.Repeat([]byte("x"), 200<<10))}, 20)
	for i, text := range big {
		a.append(cluster.Batch{By: "x", Number: uint64(i + 2)}, text)
	}
	require.Less(t, len(a.page(0).Messages), 22, "not all at once")
	require.Len(t, a.all(0), 22)
}
