package hub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// A track is what clients of one person have got of one room.
type track struct {
	loose bool // it leaves and comes back: there may be holes, but nothing twice
	pause time.Duration

	mu    sync.Mutex
	at    hub.Position
	gaps  int
	wrong []string
	limit int // messages until it hangs up; 0: it never does
	hang  func()
	near  *engine.Conn // of those that resume: the one that counts

	hanging sync.WaitGroup
}

func (k *track) receive(_ context.Context, near *engine.Conn, m engine.Message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at.Seq%16 == 0 {
		time.Sleep(k.pause)
	}
	if k.hang == nil || k.near != nil && k.near != near {
		return nil // of a connection that has been hung up
	}
	var word, from, to string
	if _, _ = fmt.Sscan(string(m.Data), &word, &from, &to); word == "gap" {
		f, err1 := hub.ParsePosition(from)
		next, err2 := hub.ParsePosition(to)
		if err1 != nil || err2 != nil || f != k.at && !k.loose || next.Seq <= k.at.Seq {
			k.wrong = append(k.wrong, fmt.Sprintf("%s after %v", m.Data, k.at))
		}
		k.at, k.gaps = next, k.gaps+1
	} else {
		next, err := hub.ParsePosition(word)
		first := k.at == hub.Position{}
		if err != nil || !first && (next.Epoch != k.at.Epoch || next.Seq <= k.at.Seq || next.Seq != k.at.Seq+1 && !k.loose) {
			k.wrong = append(k.wrong, fmt.Sprintf("%s after %v", m.Data, k.at))
		}
		k.at = next
	}
	if k.limit--; k.limit == 0 {
		hang := k.hang
		k.hang = nil
		k.hanging.Go(hang)
	}
	return nil
}

// TestTogether: in one room, at the same time, some publish, some join and leave, some
// are cut off and resume, some are so slow that they are behind all the time. What
// each of them gets has no holes but those that it is told of, and nothing twice.
func TestTogether(t *testing.T) {
	for name, c := range map[string]struct {
		limits hub.History
		most   int // of the hub
	}{
		"all kept":       {hub.History{Messages: 1 << 20, Bytes: -1}, 0},
		"few kept":       {hub.History{Messages: 20}, 0},
		"few of the hub": {hub.History{Messages: 1 << 20, Bytes: -1}, 10_000},
	} {
		t.Run(name, func(t *testing.T) { together(t, c.limits, c.most) })
	}
}

func together(t *testing.T, limits hub.History, most int) {
	const publishers, messages = 4, 500
	cfg := withHistory(limits)
	cfg.HistoryBytes = most
	w := gather(t, engine.Config{HighWaterBytes: 2048, Logger: silent}, cfg, engine.Handler{})
	room := w.hub.Room("room")
	var tracks []*track
	follow := func(k *track) *track {
		tracks = append(tracks, k)
		w.follow(k, room)
		return k
	}
	for i := range 4 {
		follow(&track{})
		follow(&track{pause: 100 * time.Microsecond})
		follow(&track{limit: 40 + i})
	}
	stop := make(chan struct{})
	var churn, work sync.WaitGroup
	for range 4 {
		k := &track{loose: true, hang: func() {}}
		tracks = append(tracks, k)
		_, far := w.connect(fmt.Sprint(now()), engine.Handler{OnMessage: k.receive})
		churn.Go(func() {
			for {
				joined := room.Join(far) // no: it has come and gone faster than the room keeps up with
				select {
				case <-stop:
					for ; !joined; joined = room.Join(far) {
						time.Sleep(time.Millisecond)
					}
					return
				default:
					room.Leave(far)
					time.Sleep(10 * time.Microsecond)
				}
			}
		})
	}
	for range publishers {
		work.Go(func() {
			for range messages {
				for {
					_, err := room.Publish(context.Background(), frame.Text, []byte("some text"))
					if err == nil {
						break
					}
					assert.Equal(t, engine.ErrCongested, err) // the churn has filled the backlog
				}
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
	work.Wait()
	close(stop)
	churn.Wait()
	_, err := room.Publish(context.Background(), frame.Text, []byte("last"))
	require.NoError(t, err)
	last := room.Position()
	require.Equal(t, uint64(publishers*messages+1), last.Seq)
	gaps := 0
	for i, k := range tracks {
		enginetest.Await(t, func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.at == last
		}, "%d has not got the last one, %v", i, last)
		k.hanging.Wait() // also who hangs up at the last one comes back
		k.mu.Lock()
		require.Empty(t, k.wrong)
		gaps += k.gaps
		k.mu.Unlock()
	}
	if limits.Bytes < 0 && most == 0 {
		require.Zero(t, gaps)
	}
	t.Logf("%d gaps told, %d sends refused for congestion", gaps, w.hub.Totals().Congested)
}

// follow connects a client that goes on where the last one was, and again when it has
// hung up.
func (w *crowd) follow(k *track, room hub.Room) {
	near, far := w.connect(fmt.Sprint(now()), engine.Handler{OnMessage: k.receive})
	k.mu.Lock()
	k.near = near
	after, every := k.at, k.limit
	k.hang = func() {
		_ = near.Close(frame.CloseNormal, "")
		k.mu.Lock()
		k.limit = every
		k.mu.Unlock()
		w.follow(k, room)
	}
	k.mu.Unlock()
	if (after == hub.Position{}) {
		room.Join(far)
	} else {
		room.Resume(far, after)
	}
}
