package deflate_test

import (
	"bytes"
	"errors"
)

var errPuff = errors.New("puff: invalid stream")

// puff is a slow inflater after RFC 1951, bit by bit, that shares no code with
// ours. It tells how far back the farthest match reaches, and stops at the end
// of the input, which must be between two blocks.
type puff struct {
	in       []byte
	bit      int
	out      []byte
	began    int // where in out the stream began: 0, or after a final block
	farthest int
	matches  int
	header   int // where the header of the last block ended, if that was stored
}

// whole tells whether src is a message as RFC 7692 §7.2.1 makes it: it ends in
// the header of a stored block, of which only 00 00 ff ff is missing.
func whole(src []byte) bool {
	p := puff{in: append(bytes.Clone(src), tail...)}
	return p.run() == nil && p.header == len(src)
}

func (p *puff) bits(n int) int {
	v := 0
	for i := range n {
		if p.bit == 8*len(p.in) {
			panic(errPuff)
		}
		v |= int(p.in[p.bit/8]>>(p.bit%8)&1) << i
		p.bit++
	}
	return v
}

type code struct{ bits, value int }

// codes assigns the codes of RFC 1951 §3.2.2. They must use up all bits, or be
// one code of one bit, or none.
func codes(lengths []int) map[code]int {
	m, next, room := map[code]int{}, 0, 1<<15
	for n := 1; n <= 15; n++ {
		for symbol, l := range lengths {
			if l == n {
				m[code{n, next}] = symbol
				next++
				room -= 1 << (15 - n)
			}
		}
		next <<= 1
	}
	if room != 0 && len(m) > 0 && (len(m) > 1 || room != 1<<14) {
		panic(errPuff)
	}
	return m
}

func (p *puff) symbol(m map[code]int) int {
	c := code{}
	for c.bits < 15 {
		c = code{c.bits + 1, c.value<<1 | p.bits(1)}
		if s, ok := m[c]; ok {
			return s
		}
	}
	panic(errPuff)
}

func (p *puff) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != errPuff {
				panic(r)
			}
			err = errPuff
		}
	}()
	for p.bit < 8*len(p.in) {
		final := p.bits(1)
		p.header = -1
		switch p.bits(2) {
		case 0:
			p.stored()
		case 1:
			p.compressed(fixedCodes())
		case 2:
			p.compressed(p.dynamicCodes())
		case 3:
			return errPuff
		}
		if final == 1 {
			p.bit = (p.bit + 7) &^ 7
			p.began = len(p.out)
		}
	}
	return nil
}

func (p *puff) stored() {
	p.bit = (p.bit + 7) &^ 7
	p.header = p.bit / 8
	n := p.bits(16)
	if p.bits(16) != n^0xffff {
		panic(errPuff)
	}
	for range n {
		p.out = append(p.out, byte(p.bits(8)))
	}
}

func fixedCodes() (literals, distances map[code]int) {
	l := make([]int, 288)
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	d := make([]int, 32)
	for i := range d {
		d[i] = 5
	}
	return codes(l), codes(d)
}

func (p *puff) dynamicCodes() (literals, distances map[code]int) {
	nl, nd, nc := p.bits(5)+257, p.bits(5)+1, p.bits(4)+4
	order := [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	cl := make([]int, 19)
	for i := range nc {
		cl[order[i]] = p.bits(3)
	}
	m, l := codes(cl), []int(nil)
	for len(l) < nl+nd {
		switch s := p.symbol(m); s {
		case 16:
			if len(l) == 0 {
				panic(errPuff)
			}
			last := l[len(l)-1]
			for range 3 + p.bits(2) {
				l = append(l, last)
			}
		case 17:
			l = append(l, make([]int, 3+p.bits(3))...)
		case 18:
			l = append(l, make([]int, 11+p.bits(7))...)
		default:
			l = append(l, s)
		}
	}
	if len(l) > nl+nd {
		panic(errPuff)
	}
	return codes(l[:nl]), codes(l[nl:])
}

func (p *puff) compressed(literals, distances map[code]int) {
	for {
		s := p.symbol(literals)
		switch {
		case s == 256:
			return
		case s < 256:
			p.out = append(p.out, byte(s))
			continue
		}
		if s > 285 {
			panic(errPuff)
		}
		length := p.length(s)
		s = p.symbol(distances)
		if s > 29 {
			panic(errPuff)
		}
		d := p.distance(s)
		if d > len(p.out)-p.began {
			panic(errPuff)
		}
		p.matches++
		p.farthest = max(p.farthest, d)
		for range length {
			p.out = append(p.out, p.out[len(p.out)-d])
		}
	}
}

// length and distance are the tables of RFC 1951 §3.2.5, computed.
func (p *puff) length(s int) int {
	switch {
	case s < 265:
		return s - 254
	case s == 285:
		return 258
	}
	extra := (s - 261) / 4
	return 3 + (4+(s-265)%4)<<extra + p.bits(extra)
}

func (p *puff) distance(s int) int {
	if s < 4 {
		return s + 1
	}
	extra := s/2 - 1
	return 1 + (2+s%2)<<extra + p.bits(extra)
}
