package bench

import "encoding/binary"

// numberBytes is the room that a message's number takes in its payload. A
// shorter payload holds the first bytes of it, which are its lowest bits.
const numberBytes = 8

// spell writes the low 48 bits of n as eight characters, '0' to 'o', six bits
// each and the lowest first, in the order of a little-endian uint64. They are
// valid UTF-8, so that one spelling serves text and binary messages.
func spell(n uint64) uint64 {
	n &= 1<<48 - 1
	n = n&0xffffff | n&0xffffff000000<<8
	n = n&0x00000fff00000fff | n&0x00fff00000fff000<<4
	n = n&0x003f003f003f003f | n&0x0fc00fc00fc00fc0<<2
	return n + 0x3030303030303030
}

// unspell reads what spell wrote, of which the first digits characters came
// through. ok is false for characters that spell never writes.
func unspell(s [numberBytes]byte, digits int) (n uint64, ok bool) {
	for i := range digits {
		c := s[i] - '0'
		if c > 0x3f {
			return 0, false
		}
		n |= uint64(c) << (6 * i)
	}
	return n, true
}

// spelled is spell as bytes.
func spelled(n uint64) (b [numberBytes]byte) {
	binary.LittleEndian.PutUint64(b[:], spell(n))
	return b
}

// numberGap tells how far got lies ahead of want (negative: behind), both cut to
// digits characters and counted around the end.
func numberGap(got, want uint64, digits int) int64 {
	shift := 64 - 6*digits
	return int64((got-want)<<shift) >> shift
}
