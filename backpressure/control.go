package backpressure

import "github.com/penstock-ws/penstock/frame"

// controlLimit bounds the bytes of control frames that wait. A peer that pings
// without reading must not fill memory: when the bound is reached the waiting
// frames give way to the newest, which RFC 6455 §5.5.3 allows for pongs.
const controlLimit = 4 << 10

// A controlLane holds encoded pings and pongs. Two buffers, so that frames can
// be added while others are being written.
type controlLane struct {
	waiting *frame.Buffer
	flying  *frame.Buffer
	off     int // bytes of flying that have been written; 0: no frame is under way
}

// push encodes one frame and returns by how much pending bytes have changed,
// which is negative when older frames gave way.
func (c *controlLane) push(cfg *Config, op frame.Opcode, payload []byte) int {
	if c.waiting == nil {
		c.waiting = cfg.Pool.Get(frame.MaxHeaderSize + len(payload))
	}
	before := len(c.waiting.B)
	h := frame.Header{Fin: true, Opcode: op, Masked: cfg.Mask, Length: int64(len(payload))}
	if before+h.Size()+len(payload) > controlLimit {
		c.waiting.B = c.waiting.B[:0]
	}
	c.waiting.B = appendFrame(c.waiting.B, h, payload)
	return len(c.waiting.B) - before
}

// launch returns the bytes to write next, nil if there are none.
func (c *controlLane) launch() []byte {
	if c.flying == nil {
		c.flying, c.waiting = c.waiting, nil
	}
	if c.flying == nil {
		return nil
	}
	return c.flying.B[c.off:]
}

// land takes up to n written bytes off what was launched and returns how many.
func (c *controlLane) land(pool *frame.Pool, n int) int {
	n = min(n, len(c.flying.B)-c.off)
	c.off += n
	if c.off == len(c.flying.B) {
		pool.Put(c.flying)
		c.flying, c.off = nil, 0
	}
	return n
}

func (c *controlLane) release(pool *frame.Pool) {
	pool.Put(c.waiting)
	pool.Put(c.flying)
	*c = controlLane{}
}
