package frame_test

import (
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

const mib = 1 << 20

func TestPoolClasses(t *testing.T) {
	for _, row := range []struct{ n, capacity int }{
		{-1, 512}, {0, 512}, {1, 512}, {512, 512},
		{513, 4096}, {4096, 4096},
		{4097, 5 << 10}, {5 << 10, 5 << 10}, {5<<10 + 1, 9 << 10},
		{8192 + frame.MaxHeaderSize, 9 << 10}, // a payload of 2^k and its header share a class
		{64<<10 + frame.MaxHeaderSize, 65 << 10}, {65<<10 + 1, 129 << 10},
		{mib, mib + 1<<10}, {mib + 1<<10, mib + 1<<10},
		{mib + 1<<10 + 1, mib + 1<<10 + 1}, {3 * mib, 3 * mib},
	} {
		var p frame.Pool
		b := p.Get(row.n)
		assert.Equal(t, row.capacity, cap(b.B), "Get(%d)", row.n)
		assert.Empty(t, b.B)
	}
}

func TestPoolHasRoomForEverySize(t *testing.T) {
	var p frame.Pool
	for n := range 70000 {
		b := p.Get(n)
		if cap(b.B) < n || len(b.B) != 0 {
			t.Fatalf("Get(%d): len %d, cap %d", n, len(b.B), cap(b.B))
		}
		b.B = append(b.B, "left behind"...)
		p.Put(b)
	}
}

// reused reports whether p hands the buffer that prepare makes of a fresh one
// out again. sync.Pool may lose one at any time (and does so at random under
// the race detector), so it tries often.
func reused(p *frame.Pool, n int, prepare func(*frame.Buffer)) bool {
	for range 100 {
		b := p.Get(n)
		prepare(b)
		array := &b.B[:1][0]
		p.Put(b)
		for _, size := range []int{n, cap(b.B)} {
			again := p.Get(size)
			if &again.B[:1][0] == array {
				return true
			}
		}
	}
	return false
}

func TestPoolRetention(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	keep := func(*frame.Buffer) {}
	grow := func(by int) func(*frame.Buffer) {
		return func(b *frame.Buffer) { b.B = append(b.B, make([]byte, cap(b.B)+by)...) }
	}
	for _, row := range []struct {
		name    string
		n       int
		prepare func(*frame.Buffer)
		kept    bool
	}{
		{"tiny", 100, keep, true},
		{"small", 4096, keep, true},
		{"5 KiB", 5000, keep, true},
		{"64 KiB and a header", 64<<10 + 14, keep, true},
		{"1 MiB", mib, keep, true},
		{"over 1 MiB", mib + 1<<10 + 1, keep, false},
		{"2 MiB and the headroom: no class", 2*mib + 1<<10, keep, false},
		{"tiny, grown a little", 100, grow(1), false},
		{"small, grown a little", 4096, grow(1), false},
		{"small, grown to 100 KB", 4096, grow(100000), false},
		{"16 KiB, grown", 16 << 10, grow(1), false},
		{"1 MiB, grown", mib, grow(1), false},
		{"small, cut down", 4096, func(b *frame.Buffer) { b.B = b.B[10:10] }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var p frame.Pool
			assert.Equal(t, row.kept, reused(&p, row.n, row.prepare))
		})
	}
}

// bytebufferpool calibrates itself after 42000 Puts, by the length of what it
// is given: to 64 bytes for a service with small frames, whose larger buffers
// it then drops one and all (its issue 15).
func TestPoolSurvivesCalibration(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var p frame.Pool
	for range 100_000 {
		for _, n := range []int{20, 2000} {
			b := p.Get(n)
			b.B = append(b.B, "a small frame"...)
			p.Put(b)
		}
	}
	for _, n := range []int{20, 2000} {
		assert.True(t, reused(&p, n, func(*frame.Buffer) {}), "Get(%d)", n)
	}
	// An emptied pool makes new ones: of the right size, or they would be dropped.
	for range 10 {
		assert.Equal(t, 512, cap(p.Get(20).B))
		assert.Equal(t, 4096, cap(p.Get(2000).B))
	}
}

func TestPoolTakesForeignBuffers(t *testing.T) {
	var p frame.Pool
	for _, capacity := range []int{0, 1, 511, 1 << 10, 2 << 10, 3 << 10, 4097, 4 * mib} {
		p.Put(&frame.Buffer{B: make([]byte, 0, capacity)})
	}
	for _, n := range []int{1, 1 << 10, 2 << 10, 3 << 10, 4097, 4 * mib} {
		assert.GreaterOrEqual(t, cap(p.Get(n).B), n)
	}
}

func TestPoolOut(t *testing.T) {
	p := frame.Pool{Count: true}
	p.Put(nil)
	assert.Zero(t, p.Out())
	small, large, huge := p.Get(10), p.Get(100000), p.Get(2*mib)
	assert.EqualValues(t, 3, p.Out())
	p.Put(small)
	p.Put(nil)
	assert.EqualValues(t, 2, p.Out())
	large.B = append(large.B, make([]byte, 300000)...)
	p.Put(large)
	p.Put(huge)
	assert.Zero(t, p.Out(), "a buffer that is dropped has come back all the same")

	var silent frame.Pool
	silent.Get(1)
	assert.Zero(t, silent.Out())
}

// A buffer that has been forgotten is not counted any more, and is used again once it is
// recycled.
func TestPoolForget(t *testing.T) {
	for _, n := range []int{100, 3000, 300_000} {
		p := frame.Pool{Count: true}
		again := false
		for range 100 { // sync.Pool may lose any
			b := p.Get(n)
			require.EqualValues(t, 1, p.Out())
			p.Forget(b)
			require.Zero(t, p.Out())
			array := &b.B[:1][0]
			p.Recycle(&frame.Buffer{B: append(b.B, "left behind"...)})
			require.Zero(t, p.Out())
			next := p.Get(n)
			require.Empty(t, next.B)
			again = again || &next.B[:1][0] == array
			p.Put(next)
		}
		require.True(t, again, "%d bytes", n)
	}
	p := frame.Pool{}
	p.Forget(p.Get(10))
	require.Zero(t, p.Out())
}

func TestPoolConcurrent(t *testing.T) {
	p := frame.Pool{Count: true}
	var wg sync.WaitGroup
	for g := range byte(8) {
		wg.Go(func() {
			for i := range 2000 {
				n := 1 + i*37%70000
				b := p.Get(n)
				b.B = append(b.B, g)
				for range 3 {
					b.B = append(b.B[:1], g)
				}
				if b.B[0] != g || b.B[1] != g {
					t.Error("somebody else has the same buffer")
				}
				p.Put(b)
			}
		})
	}
	wg.Wait()
	require.Zero(t, p.Out())
}

// What Size says is the capacity that Get gives.
func TestPoolSize(t *testing.T) {
	pool := new(frame.Pool)
	for n := 1; n < 3<<20; n += 1 + n/50 {
		for _, n := range []int{n, 1<<16 + n%3 - 1, 1<<16 + 1<<10 + n%3 - 1, 512 + n%2, 4096 + n%2} {
			assert.Equal(t, cap(pool.Get(n).B), pool.Size(n), "%d bytes", n)
		}
	}
}
