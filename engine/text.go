package engine

import "github.com/penstock-ws/penstock/frame"

// A textWatch checks text that does not come in one piece as it arrives, so that
// what is not UTF-8 is refused at once and not after the whole message
// (RFC 6455 §8.1). Text that is whole in the buffer is checked by gws, or by takeWhole.
type textWatch struct {
	on    bool
	fin   bool // the frame under way is the message's last
	mask  [4]byte
	phase int
	check utf8Check
}

// begin takes note of the header of a data frame, of whose payload here bytes are
// in the buffer. It returns false if an empty frame ends the text inside a rune.
func (w *textWatch) begin(h frame.Header, compressed bool, here int) bool {
	switch h.Opcode {
	case frame.Text:
		*w = textWatch{on: !compressed && (!h.Fin || h.Length > int64(here))}
	case frame.Binary:
		w.on = false
	}
	w.fin, w.mask, w.phase = h.Fin, h.Mask, 0
	return !w.on || !h.Fin || h.Length > 0 || w.check.valid(nil, true)
}

// valid checks the next bytes of payload, as they came; last: the frame ends with
// them.
func (w *textWatch) valid(masked []byte, last bool) bool {
	var piece [512]byte
	for len(masked) > 0 {
		n := copy(piece[:], masked)
		masked = masked[n:]
		w.phase = frame.Mask(piece[:n], w.mask, w.phase)
		if !w.check.valid(piece[:n], last && w.fin && len(masked) == 0) {
			return false
		}
	}
	return true
}

// beginText is begin for the frame whose header has just been read. It returns false
// if text ends in the middle of a rune.
func (t *transport) beginText(h frame.Header, here int) bool {
	if t.more == nil && (h.Opcode != frame.Text || t.compressed || h.Fin && h.Length <= int64(here)) {
		return true // nothing to watch
	}
	return t.needMore().text.begin(h, t.compressed, here)
}

// watch checks payload of the frame under way. left is what is missing of it, these
// bytes included.
func (t *transport) watch(payload []byte, left int64) bool {
	if t.more == nil || !t.more.text.on || !t.data || t.more.text.valid(payload, int64(len(payload)) == left) {
		return true
	}
	t.fault = frame.ErrInvalidUTF8
	return false
}
