package frame

import "encoding/binary"

// Header is a frame's header (RFC 6455 §5.2).
type Header struct {
	Fin    bool    // the last frame of its message
	RSV    byte    // the three reserved bits in place: RSV1, RSV2, RSV3
	Opcode Opcode  // low four bits
	Masked bool    // Mask is present; every frame of a client, none of a server (§5.1)
	Mask   [4]byte // masking key, as it stands on the wire
	Length int64   // payload bytes, 0 to 2^63-1
}

// The reserved bits, as they stand in a header's first byte. permessage-deflate
// uses RSV1 for a compressed message (RFC 7692 §6).
const (
	RSV1 byte = 0x40
	RSV2 byte = 0x20
	RSV3 byte = 0x10
)

// Sizes fixed by RFC 6455, in bytes.
const (
	MaxHeaderSize     = 14                    // 2, a 64-bit length, a masking key (§5.2)
	MaxControlPayload = 125                   // close, ping and pong (§5.5)
	MaxReason         = MaxControlPayload - 2 // a close reason, after its code (§5.5.1)
)

const (
	finBit     = 0x80
	rsvBits    = RSV1 | RSV2 | RSV3
	opcodeBits = 0x0f
	maskBit    = 0x80
	lengthBits = 0x7f

	length16 = 126 // length code: a 16-bit length follows
	length64 = 127 // length code: a 64-bit length follows
)

// Size returns the bytes that AppendHeader appends for h: 2 to MaxHeaderSize.
func (h Header) Size() int {
	n := 2
	switch length := uint64(h.Length); {
	case length > 0xffff:
		n += 8
	case length >= length16:
		n += 2
	}
	if h.Masked {
		n += 4
	}
	return n
}

// AppendHeader appends h to dst, the length in its shortest form as RFC 6455
// §5.2 demands. A negative Length is the caller's mistake: it is encoded with
// the top bit set, and every receiver must refuse it.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := h.RSV&rsvBits | byte(h.Opcode)&opcodeBits
	if h.Fin {
		b0 |= finBit
	}
	var b1 byte
	if h.Masked {
		b1 = maskBit
	}
	switch length := uint64(h.Length); {
	case length < length16:
		dst = append(dst, b0, b1|byte(length))
	case length <= 0xffff:
		dst = append(dst, b0, b1|length16, byte(length>>8), byte(length))
	default:
		dst = append(dst, b0, b1|length64)
		dst = binary.BigEndian.AppendUint64(dst, length)
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// ParseHeader reads the header at the start of b and returns its size. n == 0
// without an error: more bytes are needed. It checks only the encoding, and
// that as early as the bytes allow: ErrLengthTopBit, ErrLengthNotMinimal. What
// a frame may say where is the Scanner's job.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < 2 {
		return Header{}, 0, nil
	}
	if _, e := lengthBound(b); e != nil {
		return Header{}, 0, e
	}
	if len(b) < headerSize(b[1]) {
		return Header{}, 0, nil
	}
	n = h.decode(b)
	return h, n, nil
}

// Mask XORs b in place with key (RFC 6455 §5.3), as if b began pos bytes into
// the payload, and returns the phase (0 to 3) at which the next piece goes on.
func Mask(b []byte, key [4]byte, pos int) int {
	next := (pos + len(b)) & 3
	var turned [4]byte
	for i := range turned {
		turned[i] = key[(pos+i)&3]
	}
	k := uint64(binary.LittleEndian.Uint32(turned[:]))
	k |= k << 32
	for len(b) >= 32 {
		w := b[:32]
		binary.LittleEndian.PutUint64(w[0:8], binary.LittleEndian.Uint64(w[0:8])^k)
		binary.LittleEndian.PutUint64(w[8:16], binary.LittleEndian.Uint64(w[8:16])^k)
		binary.LittleEndian.PutUint64(w[16:24], binary.LittleEndian.Uint64(w[16:24])^k)
		binary.LittleEndian.PutUint64(w[24:32], binary.LittleEndian.Uint64(w[24:32])^k)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		k >>= 8
	}
	return next
}

// headerSize returns the size of the header whose second byte is b1.
func headerSize(b1 byte) int {
	n := 2
	switch b1 & lengthBits {
	case length16:
		n = 4
	case length64:
		n = 10
	}
	if b1&maskBit != 0 {
		n += 4
	}
	return n
}

// decode reads a header that is whole in b and whose length has been checked,
// and returns its size. It fills in the caller's Header: returning one would
// copy 16 bytes that have just been stored one by one, which the processor
// has to wait for (8 ns of Scanner.Next's 21).
func (h *Header) decode(b []byte) int {
	h.Fin = b[0]&finBit != 0
	h.RSV = b[0] & rsvBits
	h.Opcode = Opcode(b[0] & opcodeBits)
	h.Length = int64(b[1] & lengthBits)
	n := 2
	switch h.Length {
	case length16:
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		n = 4
	case length64:
		h.Length = int64(binary.BigEndian.Uint64(b[2:]))
		n = 10
	}
	h.Masked = b[1]&maskBit != 0
	if h.Masked {
		h.Mask = [4]byte(b[n : n+4])
		n += 4
	}
	return n
}

// lengthBound returns the payload length if all its bytes are in p, else the
// least length that the bytes so far allow, so that a frame over a limit is
// refused before the rest of its header has come. p holds two bytes or more.
func lengthBound(p []byte) (int64, *Error) {
	switch code := p[1] & lengthBits; code {
	case length16:
		return bound16(p[2:])
	case length64:
		return bound64(p[2:])
	default:
		return int64(code), nil
	}
}

func bound16(p []byte) (int64, *Error) {
	switch len(p) {
	case 0:
		return 0, nil
	case 1:
		return int64(p[0]) << 8, nil
	}
	length := int64(binary.BigEndian.Uint16(p))
	if length < length16 {
		return 0, ErrLengthNotMinimal
	}
	return length, nil
}

func bound64(p []byte) (int64, *Error) {
	var length uint64
	for i := range min(len(p), 8) {
		length |= uint64(p[i]) << (56 - 8*i)
	}
	if length>>63 != 0 {
		return 0, ErrLengthTopBit
	}
	if len(p) >= 6 && length <= 0xffff {
		return 0, ErrLengthNotMinimal
	}
	return int64(length), nil
}
