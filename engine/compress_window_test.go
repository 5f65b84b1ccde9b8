package engine_test

// furthest returns how far back the furthest match of a DEFLATE stream reaches
// (RFC 1951). It takes only what our own compressor makes: a stream that is whole
// up to its last, cut off, block.
func furthest(src []byte) (most int) {
	b := bits{src: append(src[:len(src):len(src)], 0, 0, 0xff, 0xff)}
	for b.at < 8*len(src) {
		b.take(1)
		switch b.take(2) {
		case 0:
			b.at = (b.at + 7) / 8 * 8
			n := b.take(16)
			b.take(16)
			b.at += 8 * n
		case 1:
			var lengths [288]int
			for i := range lengths {
				lengths[i] = 8
				if i >= 144 && i < 256 {
					lengths[i] = 9
				} else if i >= 256 && i < 280 {
					lengths[i] = 7
				}
			}
			five := make([]int, 30)
			for i := range five {
				five[i] = 5
			}
			most = max(most, b.block(newCodes(lengths[:]), newCodes(five)))
		case 2:
			literals, distances, n := b.take(5)+257, b.take(5)+1, b.take(4)+4
			var order [19]int
			for _, i := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:n] {
				order[i] = b.take(3)
			}
			codes := newCodes(order[:])
			var lengths []int
			for len(lengths) < literals+distances {
				switch s := b.symbol(codes); s {
				case 16:
					last := lengths[len(lengths)-1]
					for range b.take(2) + 3 {
						lengths = append(lengths, last)
					}
				case 17:
					lengths = append(lengths, make([]int, b.take(3)+3)...)
				case 18:
					lengths = append(lengths, make([]int, b.take(7)+11)...)
				default:
					lengths = append(lengths, s)
				}
			}
			most = max(most, b.block(newCodes(lengths[:literals]), newCodes(lengths[literals:])))
		}
	}
	return most
}

// bits are read from the lowest of each byte.
type bits struct {
	src []byte
	at  int
}

func (b *bits) take(n int) (v int) {
	for i := range n {
		v |= int(b.src[b.at/8]>>(b.at%8)&1) << i
		b.at++
	}
	return v
}

// codes are symbols by length and code.
type codes map[[2]int]int

func newCodes(lengths []int) codes {
	c, code := codes{}, 0
	for n := 1; n <= 15; n++ {
		for symbol, l := range lengths {
			if l == n {
				c[[2]int{n, code}] = symbol
				code++
			}
		}
		code <<= 1
	}
	return c
}

func (b *bits) symbol(c codes) int {
	code := 0
	for n := 1; n <= 15; n++ {
		code = code<<1 | b.take(1)
		if s, ok := c[[2]int{n, code}]; ok {
			return s
		}
	}
	panic("no such code")
}

func (b *bits) block(literals, distances codes) (most int) {
	for {
		s := b.symbol(literals)
		switch {
		case s == 256:
			return most
		case s < 256:
			continue
		case s >= 265 && s < 285:
			b.take((s - 261) / 4)
		}
		d := b.symbol(distances)
		distance := d + 1
		if d >= 4 {
			extra := d/2 - 1
			distance = (2+d&1)<<extra + b.take(extra) + 1
		}
		most = max(most, distance)
	}
}
