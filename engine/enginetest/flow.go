package enginetest

import (
	"io"
	"net"
	"syscall"
	"time"
)

// A Flow is one direction of a Link, and the place for its faults. It is a buffer of
// bounded size between a Write and a Read. Any goroutine may call its methods at any time;
// each holds from then on.
type Flow struct {
	// immutable
	pair *pair
	back *Flow // the other direction

	// guarded by pair.mu
	parcels []parcel
	waiting int // bytes in them
	buffer  int
	delay   time.Duration
	chunk   int  // 0: a Read gets what there is
	left    int  // bytes until it is cut, if cuts
	cuts    bool // it is going to be cut
	stalled bool

	// of the writing end
	writeBy  deadline
	writing  bool  // a Write is under way
	gone     bool  // it is closed
	refused  error // what a Write returns; nil: it may write
	finished error // what comes behind the parcels; nil: nothing yet
	ends     time.Time

	// of the reading end
	readBy deadline
	deaf   bool // it is closed
	told   bool // a Write has gone nowhere since
}

// A parcel is what was written at a time, and the earliest that it is delivered.
type parcel struct {
	bytes []byte
	at    time.Time
}

// defaultBuffer is what fits into a Flow unless it is told otherwise.
const defaultBuffer = 64 << 10

// SetBuffer bounds how many bytes may have been written and not read: with more, writes
// wait. Default 64 KiB; at least 1.
func (f *Flow) SetBuffer(bytes int) {
	f.set(func() { f.buffer = max(1, bytes) })
}

// SetDelay has what is written arrive so much later, and in order. It takes room in the
// buffer meanwhile.
func (f *Flow) SetDelay(d time.Duration) {
	f.set(func() { f.delay = d })
}

// SetChunk has each Read return so many bytes at the most; 1 delivers byte by byte, and 0,
// the default, what there is.
func (f *Flow) SetChunk(bytes int) {
	f.set(func() { f.chunk = max(0, bytes) })
}

// Stall has reads wait, whatever has arrived, also the end: the reading end has stopped
// reading, or the network does not deliver. Writes go on until the buffer is full. A
// network that has died without a word is both directions stalled.
func (f *Flow) Stall() {
	f.set(func() { f.stalled = true })
}

// Resume ends Stall.
func (f *Flow) Resume() {
	f.set(func() { f.stalled = false })
}

// CutAfter lets so many more bytes be written, and then resets the connection: its reader
// gets those and syscall.ECONNRESET, its writer, and in the other direction both,
// syscall.ECONNRESET. The place may be in the middle of a frame.
func (f *Flow) CutAfter(bytes int) {
	f.set(func() {
		f.left, f.cuts = max(0, bytes), true
		f.cutLocked()
	})
}

// Buffered returns how many bytes have been written and not read.
func (f *Flow) Buffered() int {
	f.pair.mu.Lock()
	defer f.pair.mu.Unlock()
	return f.waiting
}

func (f *Flow) set(change func()) {
	f.pair.mu.Lock()
	defer f.pair.mu.Unlock()
	change()
	f.pair.changed.Broadcast()
}

func (f *Flow) read(p []byte) (int, error) {
	f.pair.mu.Lock()
	defer f.pair.mu.Unlock()
	for {
		now := time.Now()
		if err := f.readErrLocked(now); err != nil {
			return 0, err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if n := f.takeLocked(p, now); n > 0 {
			f.pair.changed.Broadcast()
			return n, nil
		}
		f.pair.changed.Wait()
	}
}

func (f *Flow) readErrLocked(now time.Time) error {
	switch {
	case f.deaf:
		return net.ErrClosed
	case f.stalled || f.waiting > 0 || now.Before(f.ends):
		return f.readBy.errLocked(now)
	case f.finished != nil:
		return f.finished
	}
	return f.readBy.errLocked(now)
}

// takeLocked moves what has arrived to p.
func (f *Flow) takeLocked(p []byte, now time.Time) (n int) {
	if f.stalled {
		return 0
	}
	if f.chunk > 0 {
		p = p[:min(len(p), f.chunk)]
	}
	for n < len(p) && len(f.parcels) > 0 && !now.Before(f.parcels[0].at) {
		first := &f.parcels[0]
		k := copy(p[n:], first.bytes)
		n += k
		if first.bytes = first.bytes[k:]; len(first.bytes) == 0 {
			f.parcels = f.parcels[1:]
		}
	}
	f.waiting -= n
	return n
}

// write waits its turn, as a socket's writes do, so that no two are mixed.
func (f *Flow) write(p []byte) (n int, err error) {
	f.pair.mu.Lock()
	defer f.pair.mu.Unlock()
	mine := false
	for {
		err := f.writeErrLocked(time.Now())
		if n == len(p) && n > 0 {
			err = nil // whatever has happened since
		}
		if err != nil || n == len(p) {
			f.endTurnLocked(mine)
			return n, err
		}
		switch {
		case f.writing && !mine:
		case f.deaf:
			f.told = true
			f.endTurnLocked(mine)
			return len(p), nil
		default:
			f.writing, mine = true, true
			if k := f.putLocked(p[n:]); k > 0 {
				n += k
				continue
			}
		}
		f.pair.changed.Wait()
	}
}

func (f *Flow) endTurnLocked(mine bool) {
	if mine {
		f.writing = false
		f.pair.changed.Broadcast()
	}
}

func (f *Flow) writeErrLocked(now time.Time) error {
	switch {
	case f.gone:
		return net.ErrClosed
	case f.refused != nil:
		return f.refused
	case f.told:
		return syscall.EPIPE
	}
	return f.writeBy.errLocked(now)
}

// putLocked sends as much of p as there is room for.
func (f *Flow) putLocked(p []byte) int {
	n := min(len(p), f.buffer-f.waiting)
	if f.cuts {
		n = min(n, f.left)
	}
	if n <= 0 {
		return 0
	}
	f.parcels = append(f.parcels, parcel{append([]byte(nil), p[:n]...), f.arrivalLocked()})
	f.waiting += n
	f.left -= n
	f.cutLocked()
	f.pair.changed.Broadcast()
	return n
}

// arrivalLocked returns when something that is sent now arrives, unless it has to wait for
// what was sent before, and has the reader wake up then.
func (f *Flow) arrivalLocked() time.Time {
	at := time.Now().Add(f.delay)
	if f.delay > 0 {
		time.AfterFunc(f.delay, f.pair.wake)
	}
	return at
}

// cutLocked resets the connection if its time has come.
func (f *Flow) cutLocked() {
	if f.cuts && f.left <= 0 {
		f.endLocked(syscall.ECONNRESET)
		f.back.endLocked(syscall.ECONNRESET)
	}
}

// endLocked ends the flow, unless it has ended: with io.EOF in good order.
func (f *Flow) endLocked(err error) {
	if f.finished == nil {
		f.finished, f.ends = err, f.arrivalLocked()
	}
	if err != io.EOF {
		f.refused = err
	} else if f.refused == nil {
		f.refused = syscall.EPIPE
	}
	f.pair.changed.Broadcast()
}

// dropLocked forgets what nobody will read.
func (f *Flow) dropLocked() { f.parcels, f.waiting = nil, 0 }
