package backpressure_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/cryptotest"

	crypto "crypto/rand"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// Every way that a frame takes (RFC 6455 §5.1: every frame of a client is masked).
// The wire's scanner refuses those that are not; here are the payloads and the keys.
var maskedWays = []struct {
	name  string
	order []string
	do    func(r *rig)
}{
	{"direct", []string{"binary fin"}, func(r *rig) { r.send(pattern(1, 100)) }},
	{"direct, empty", []string{"binary fin"}, func(r *rig) { r.send(nil) }},
	{"direct, cut short", []string{"binary fin"}, func(r *rig) {
		r.wire.setRoom(7)
		r.send(pattern(1, 100))
	}},
	{"single", []string{"binary fin", "binary fin"}, func(r *rig) {
		r.wire.setRoom(0)
		r.Send(classed(frame.Binary, pattern(1, 100), dropOldest, ""))
		r.Send(classed(frame.Binary, pattern(1, 100), dropOldest, ""))
	}},
	{"segment", []string{"binary fin", "binary fin", "binary fin"}, func(r *rig) {
		r.Cork()
		r.send(pattern(1, 100))
		r.send(pattern(1, 10))
		r.send(nil)
	}},
	{"train of one", []string{"binary fin"}, func(r *rig) { r.send(pattern(1, 3500)) }},
	{"train", []string{"binary", "continuation", "continuation fin"}, func(r *rig) { r.send(pattern(1, 10_000)) }},
	{"train, waiting", []string{"binary", "continuation", "continuation fin"}, func(r *rig) {
		r.Cork()
		r.send(pattern(1, 10_000))
	}},
	{"train and ping", []string{"binary", "ping", "continuation", "continuation fin"}, func(r *rig) {
		r.wire.setRoom(7)
		r.send(pattern(1, 10_000))
		r.SendControl(frame.Ping, []byte("now"))
	}},
	{"prepared", []string{"binary fin"}, func(r *rig) { r.Send(prep(prepare(frame.Binary, pattern(1, 100)), false)) }},
	{"prepared, medium", []string{"binary fin"}, func(r *rig) { r.Send(prep(prepare(frame.Binary, pattern(1, 4000)), false)) }},
	{"prepared, large", []string{"binary", "continuation fin"}, func(r *rig) {
		r.Send(prep(prepare(frame.Binary, pattern(1, 8000)), false))
	}},
	{"prepared, held", []string{"binary fin", "binary", "continuation fin"}, func(r *rig) {
		r.Send(prep(prepare(frame.Binary, pattern(1, 100)), true))
		r.Send(prep(prepare(frame.Binary, pattern(1, 8000)), true))
	}},
	{"stream", []string{"binary", "continuation", "continuation fin"}, func(r *rig) {
		s, _ := r.OpenStream(frame.Binary, 0)
		for i := range 3 {
			p := pattern(1, 100)
			_, err := s.TryWrite(p, i == 2)
			assert.NoError(r.tb, err)
			assert.Equal(r.tb, pattern(1, 100), p)
		}
	}},
	{"gap", []string{"binary fin", "text fin"}, func(r *rig) {
		r.wire.setRoom(0)
		r.send([]byte("first"))
		gap := &backpressure.Class{Overflow: backpressure.DropNewest, Gap: gapText}
		r.Send(classed(frame.Binary, pattern(1, 70<<10), gap, ""))
	}},
	{"control", []string{"ping", "pong", "pong"}, func(r *rig) {
		r.SendControl(frame.Ping, []byte("ping"))
		r.SendControl(frame.Pong, nil)
		r.SendControl(frame.Pong, pattern(1, 125))
	}},
	{"overflow", []string{"binary fin", "close"}, func(r *rig) {
		r.wire.setRoom(3)
		r.send([]byte("first"))
		r.Send(classed(frame.Binary, pattern(1, 70<<10), &backpressure.Class{Overflow: backpressure.Disconnect}, ""))
	}},
	{"aborted stream", []string{"binary", "close"}, func(r *rig) {
		s, _ := r.OpenStream(frame.Binary, 0)
		_, err := s.TryWrite([]byte("begun"), false)
		assert.NoError(r.tb, err)
		s.Abort(frame.CloseInternalError, "")
	}},
}

// A masking queue and one that does not mask send the same, but for the masks: so
// many bytes more for each frame, in Pending as well, and no key twice.
func TestEveryWayIsMasked(t *testing.T) {
	for _, row := range maskedWays {
		t.Run(row.name, func(t *testing.T) {
			var sent [2]transcript
			for i, mask := range []bool{false, true} {
				r := newRig(t, backpressure.Config{Mask: mask})
				row.do(r)
				pending := r.Pending()
				before := len(r.wire.taken())
				r.wire.setRoom(unlimited)
				r.Uncork()
				r.Flush()
				r.allowAll()
				if row.name != "gap" { // which is not counted before it is made
					assert.Equal(t, pending, len(r.wire.taken())-before, "Pending")
				}
				r.Close(frame.CloseGoingAway, "bye", false)
				sent[i] = r.transcript()
				assert.Equal(t, int(r.Totals().Written), len(r.wire.taken()))
				r.wantFinished(nil)
				assert.Zero(t, r.Held())
			}
			plain, masked := sent[0], sent[1]
			if last := len(masked.order) - 1; masked.order[last] == "close" && len(row.order) == last {
				assert.Equal(t, row.order, masked.order[:last])
			} else {
				assert.Equal(t, row.order, masked.order)
			}
			require.Len(t, masked.keys, len(masked.order))
			for i, key := range masked.keys {
				assert.NotContains(t, masked.keys[:i], key, "two of so few are the same by chance once in 2^28")
			}
			masked.keys = nil
			assert.Equal(t, plain, masked)
		})
	}
}

// The bytes of each header are counted, at the edges of its sizes and of ChunkSize.
func TestMaskedSizes(t *testing.T) {
	for _, row := range []struct{ size, chunk, frames, want int }{
		{0, 300, 1, 6},
		{125, 300, 1, 6 + 125},
		{126, 300, 1, 8 + 126},
		{300, 300, 1, 8 + 300},
		{301, 300, 2, 8 + 300 + 6 + 1},
		{900, 300, 3, 3 * (8 + 300)},
		{1<<16 - 1, 1 << 17, 1, 8 + 1<<16 - 1},
		{1 << 16, 1 << 17, 1, 14 + 1<<16},
		{1<<17 + 1<<16, 1 << 17, 2, 14 + 1<<17 + 14 + 1<<16},
	} {
		r := newRig(t, backpressure.Config{Mask: true, ChunkSize: row.chunk, CorkSize: 1 << 20, HighWater: 1 << 20})
		r.Cork()
		r.mustSend(pattern(1, row.size))
		assert.Equal(t, row.want, r.Pending(), "%d in %d", row.size, row.chunk)
		r.Flush()
		r.allowAll() // a turn may end between two fragments
		assert.Equal(t, row.want, len(r.wire.taken()))
		tr := r.transcript()
		tr.want(t, pattern(1, row.size))
		assert.Equal(t, row.frames, tr.messages[0].frames)
	}
}

// At the mark, to the byte: a masked message has room if all its bytes have. The ping
// has 6 of them.
func TestMaskedMarks(t *testing.T) {
	for _, row := range []struct {
		size, high int
		want       backpressure.Verdict
	}{
		{0, 12, backpressure.Queued},
		{0, 11, backpressure.Dropped},
		{88, 100, backpressure.Queued},
		{89, 100, backpressure.Dropped},
		{301, 6 + 8 + 300 + 6 + 1, backpressure.Queued},
		{301, 6 + 8 + 300 + 6, backpressure.Dropped},
	} {
		class := &backpressure.Class{Overflow: backpressure.DropNewest}
		r := newRig(t, backpressure.Config{Mask: true, ChunkSize: 300, HighWater: row.high, Class: class})
		r.wire.setRoom(0)
		r.SendControl(frame.Ping, nil)
		assert.Equal(t, row.want, r.Send(data(frame.Binary, pattern(1, row.size))), "%d bytes of %d", row.size, row.high)
	}
}

// Waiting control frames give way at their limit, to the byte. The wire has been
// offered the first one.
func TestMaskedControlLimit(t *testing.T) {
	for _, last := range []int{29, 30} {
		r := newRig(t, backpressure.Config{Mask: true})
		r.wire.setRoom(0)
		r.SendControl(frame.Ping, nil)
		for range 31 {
			r.SendControl(frame.Pong, pattern(1, 125))
		}
		r.SendControl(frame.Pong, pattern(1, last))
		want := 6 + 6 + last
		if last == 29 {
			want = 6 + backpressure.ControlLimit
		}
		assert.Equal(t, want, r.Pending(), "31*(6+125) + 6 + %d of %d", last, backpressure.ControlLimit)
	}
}

// A masking queue pays for its copy of a prepared message, and does not refer to it.
func TestMaskedPreparedIsCharged(t *testing.T) {
	budget := backpressure.NewBudget(1 << 30)
	own := backpressure.NewBudget(1 << 30)
	for _, size := range []int{100, 3000, 30_000} {
		p := backpressure.Prepare(frame.Text, frame.RSV1, pattern(0, size), own)
		r := newRig(t, backpressure.Config{Mask: true, Budget: budget})
		r.wire.setRoom(0)
		r.Send(prep(p, false))
		assert.GreaterOrEqual(t, r.Held(), backpressure.ItemCost+size)
		assert.Zero(t, own.Used())
		r.allowAll()
		assert.Equal(t, frame.RSV1, r.transcript().messages[0].rsv)
		assert.Zero(t, r.Held())
		assert.Zero(t, r.cfg.Pool.Out())
	}
	assert.Zero(t, budget.Used())
}

// One message to masking and other queues at once, over sockets that stop anywhere:
// nobody writes to what they share, and a large message of one sender goes to all.
func TestMaskedAndUnmaskedBroadcast(t *testing.T) {
	for _, size := range []int{100, 3000, 20_000} {
		payload := pattern(size, size)
		p, lent := prepare(frame.Binary, payload), bytes.Clone(payload)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for k := range 20 {
					r := newRig(t, backpressure.Config{Mask: i%2 == 0})
					r.wire.setRoom(k * 37)
					r.Send(prep(p, k%2 == 0))
					r.Send(data(frame.Binary, lent))
					r.Send(prep(p, false))
					r.Flush()
					r.allowAll()
					r.transcript().want(t, payload, payload, payload)
				}
			})
		}
		all.Wait()
		assert.True(t, bytes.Equal(payload, p.Payload()), "what is shared has been written to")
		assert.True(t, bytes.Equal(payload, lent), "a sender's memory has been written to")
	}
}

const manyKeys = 100_000

// keysOf sends n small messages from as many goroutines, and returns their keys.
func keysOf(tb testing.TB, goroutines, n int) [][4]byte {
	keys := make([][][4]byte, goroutines)
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			r := newRig(tb, backpressure.Config{Mask: true})
			for range n / goroutines {
				r.send([]byte("frame"))
			}
			keys[i] = r.transcript().keys
		})
	}
	all.Wait()
	return slices.Concat(keys...)
}

// Keys are no fewer, and no more often the same, than 32 random bits are: among
// 100,000 there are n(n-1)/2^33 = 1.2 equal pairs; 14 or more by chance once in 10^11.
// Each byte of them takes all values equally often: chi-square with 255 degrees of
// freedom is above 430 by chance once in 10^10.
func TestKeysAreRandom(t *testing.T) {
	keys := keysOf(t, 8, manyKeys)
	require.Len(t, keys, manyKeys)
	seen := make(map[[4]byte]bool, manyKeys)
	var counts [4][256]int
	equal := 0
	for _, key := range keys {
		if seen[key] {
			equal++
		}
		seen[key] = true
		for i, b := range key {
			counts[i][b]++
		}
	}
	assert.Less(t, equal, 14, "equal keys")
	for i := range counts {
		assert.Less(t, chiSquare(counts[i][:], manyKeys), 430.0, "byte %d", i)
	}
}

func chiSquare(counts []int, n int) (sum float64) {
	want := float64(n) / float64(len(counts))
	for _, c := range counts {
		sum += math.Pow(float64(c)-want, 2) / want
	}
	return sum
}

// Keys are what crypto/rand yields, whole and none twice: it is made foreseeable for
// this test, and then so are they (RFC 6455 §10.3).
func TestKeysComeFromCryptoRand(t *testing.T) {
	seed := rand.Uint64()
	cryptotest.SetGlobalRandom(t, seed)
	random := make([]byte, 4<<20)
	_, err := crypto.Read(random)
	require.NoError(t, err)
	at := make(map[[4]byte][]int)
	for i := 0; i < len(random); i += 4 {
		key := [4]byte(random[i:])
		at[key] = append(at[key], i)
	}

	backpressure.ForgetKeys()
	cryptotest.SetGlobalRandom(t, seed)
	for i, key := range keysOf(t, 1, 3000) {
		require.NotEmpty(t, at[key], "key %d is not from crypto/rand, or has been given out before (seed %d)", i, seed)
		at[key] = at[key][1:]
	}
	backpressure.ForgetKeys() // nobody else shall have these
}

// What crosses the net is what gorilla's server, which takes nothing unmasked, reads.
func TestGorillaReadsWhatIsMasked(t *testing.T) {
	payloads := [][]byte{nil, pattern(1, 100), pattern(2, 3000), pattern(3, 100_000)}
	got := make(chan []byte, 100)
	end := make(chan error, 1)
	pings := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(got)
		defer close(pings)
		c, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer c.Close()
		c.SetPingHandler(func(p string) error { pings <- p; return nil })
		for {
			_, p, err := c.ReadMessage()
			if err != nil {
				end <- err
				return
			}
			got <- p
		}
	}))
	defer server.Close()
	conn := upgraded(t, server.Listener.Addr().String())
	defer conn.Close()
	cfg := newRig(t, backpressure.Config{Mask: true, HighWater: 1 << 20}).cfg
	var q backpressure.Queue
	q.Init(&cfg, &netWire{conn: conn}, newFakeEvents())
	for _, p := range payloads {
		q.Send(data(frame.Binary, p))
		q.Send(prep(prepare(frame.Text, p[:len(p)/2]), false))
		q.SendControl(frame.Ping, []byte("ping"))
		require.Equal(t, "ping", <-pings)
	}
	q.Close(frame.CloseGoingAway, "bye", false)
	for _, p := range payloads {
		assert.True(t, bytes.Equal(p, <-got))
		assert.True(t, bytes.Equal(p[:len(p)/2], <-got))
	}
	assert.Equal(t, &gorilla.CloseError{Code: 1001, Text: "bye"}, <-end)
}

// upgraded returns a connection on which the handshake has been done.
func upgraded(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	req := httptest.NewRequest(http.MethodGet, "http://"+addr, nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	require.NoError(t, req.Write(conn))
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	return conn
}

// A netWire always waits.
type netWire struct{ conn net.Conn }

func (w *netWire) Write(bufs [][]byte, _ bool) (int, error) {
	n, err := (*net.Buffers)(&bufs).WriteTo(w.conn)
	return int(n), err
}

func (w *netWire) Await(q *backpressure.Queue) { go q.Resume(true) }

// What a key costs, and what it would cost without the ring.
func BenchmarkNewKey(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			key := backpressure.NewKey()
			_ = binary.LittleEndian.Uint32(key[:])
		}
	})
	b.Run("contended", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				backpressure.NewKey()
			}
		})
	})
	b.Run("without the ring", func(b *testing.B) {
		b.ReportAllocs()
		var key [4]byte
		for b.Loop() {
			crypto.Read(key[:])
		}
	})
}
