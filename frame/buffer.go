package frame

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"
)

// Buffer is what frames and messages are built in: append to B.
type Buffer = bytebufferpool.ByteBuffer

// Capacities of pooled buffers, in bytes.
//
// Small ones come in two sizes, because what is queued for slow peers is held
// for long, and most of it is far below 4 KiB. They are powers of two because
// that is what bytebufferpool makes of them itself once it has calibrated.
//
// Large ones are a power of two and a headroom: payloads tend to be exact
// powers of two, and the header in front must not double the buffer (gws does
// that). 1 KiB is room for the headers of 1 MiB cut into 4 KiB fragments.
// Steps of two waste at most half; finer ones would split the reuse.
//
// Beyond 1 MiB nothing is kept: one such message per connection and hour must
// not become the service's resident memory.
const (
	tinyBuffer  = 512
	smallBuffer = 4 << 10

	headroom      = 1 << 10
	minClassBits  = 12 // 4 KiB + headroom
	maxClassBits  = 20 // 1 MiB + headroom
	largeClasses  = maxClassBits - minClassBits + 1
	largestBuffer = 1<<maxClassBits + headroom
)

// Pool keeps buffers for reuse: up to 4 KiB in bytebufferpool pools, above in
// size classes up to 1 MiB. Larger ones are plain allocations. The zero value
// is ready to use; a Pool must not be copied. Any goroutine may call it.
//
// A buffer that has grown is dropped when it comes back: kept, it would sit at
// its largest size where small ones are wanted. So ask for the size that is
// needed instead of growing into it.
type Pool struct {
	out   atomic.Int64
	tiny  smallPool
	small smallPool
	large [largeClasses]sync.Pool

	// Count makes Out count. Off by default: it is one cache line that all
	// cores write to. Set it before first use.
	Count bool
}

// Get returns an empty buffer with room for n bytes. Give it back with Put.
func (p *Pool) Get(n int) *Buffer {
	if p.Count {
		p.out.Add(1)
	}
	switch {
	case n <= tinyBuffer:
		return p.tiny.get(tinyBuffer)
	case n <= smallBuffer:
		return p.small.get(smallBuffer)
	case n <= largestBuffer:
		return p.getLarge(n)
	}
	return &Buffer{B: make([]byte, 0, n)}
}

// Size returns the capacity that Get gives a buffer for n bytes: what asking for so
// many will cost.
func (p *Pool) Size(n int) int {
	switch {
	case n <= tinyBuffer:
		return tinyBuffer
	case n <= smallBuffer:
		return smallBuffer
	case n <= largestBuffer:
		return classSize(largeClass(n))
	}
	return n
}

// Put gives b back; neither it nor its bytes may be used afterwards. A buffer
// that is not from Get may be put too, but is counted all the same. nil is ignored.
func (p *Pool) Put(b *Buffer) {
	if b == nil {
		return
	}
	p.Forget(b)
	p.Recycle(b)
}

// Forget counts b as put back, and leaves it to whoever has it: until the garbage
// collector takes it, or Recycle.
func (p *Pool) Forget(*Buffer) {
	if p.Count {
		p.out.Add(-1)
	}
}

// Recycle is Put for a buffer that has been forgotten.
func (p *Pool) Recycle(b *Buffer) {
	switch size := cap(b.B); size {
	case tinyBuffer:
		p.tiny.put(b)
	case smallBuffer:
		p.small.put(b)
	default:
		p.putLarge(b, size)
	}
}

// Out returns how many buffers have been handed out and neither put back nor forgotten. It
// counts only while Count is set.
func (p *Pool) Out() int64 { return p.out.Load() }

// smallPool holds buffers of one size. bytebufferpool's counters need the
// alignment of 64-bit atomics, which 32-bit machines give only on request.
type smallPool struct {
	_    [0]atomic.Int64
	pool bytebufferpool.Pool
}

// get makes sure of the capacity itself: a bytebufferpool hands out empty
// buffers until it has calibrated (its issue 15).
func (s *smallPool) get(size int) *Buffer {
	b := s.pool.Get()
	if cap(b.B) < size {
		b.B = make([]byte, 0, size)
	}
	return b
}

// put shows bytebufferpool the buffer at full length. It calibrates by length,
// to what 95 % of its buffers need: by the frames' own lengths it would settle
// on 64 bytes and drop everything larger (its issue 15).
func (s *smallPool) put(b *Buffer) {
	b.B = b.B[:cap(b.B)]
	s.pool.Put(b)
}

func (p *Pool) getLarge(n int) *Buffer {
	class := largeClass(n)
	if b, ok := p.large[class].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, classSize(class))}
}

func (p *Pool) putLarge(b *Buffer, size int) {
	if size <= smallBuffer || size > largestBuffer {
		return
	}
	class := largeClass(size)
	if size != classSize(class) {
		return
	}
	b.Reset()
	p.large[class].Put(b)
}

// classSize returns the capacity of a large class's buffers.
func classSize(class int) int { return 1<<(minClassBits+class) + headroom }

// largeClass returns the class that has room for n bytes; n is over smallBuffer
// and at most largestBuffer.
func largeClass(n int) int {
	return max(0, bits.Len(uint(n-headroom-1))-minClassBits)
}
