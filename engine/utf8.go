package engine

import "unicode/utf8"

// utf8Check checks text that comes in pieces which may end inside a rune.
type utf8Check struct {
	open [utf8.UTFMax]byte // an incomplete rune
	n    int
}

// valid takes the next piece and, with last, wants all runes to be complete.
func (u *utf8Check) valid(p []byte, last bool) bool {
	for u.n > 0 && len(p) > 0 {
		u.open[u.n] = p[0]
		u.n++
		p = p[1:]
		if utf8.FullRune(u.open[:u.n]) {
			if !utf8.Valid(u.open[:u.n]) {
				return false
			}
			u.n = 0
		}
	}
	tail := len(p)
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax+1; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				tail = i
			}
			break
		}
	}
	u.n += copy(u.open[u.n:], p[tail:])
	return utf8.Valid(p[:tail]) && !(last && u.n > 0)
}
