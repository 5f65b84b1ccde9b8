package reconnect

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// naive is an outbox as three lists.
type naive struct {
	base                   uint64
	handed, again, waiting []string
}

func (n *naive) all() []string {
	return append([]string{}, slices.Concat(n.handed, n.again, n.waiting)...)
}

func (b *outbox) texts() (list []string) {
	for _, m := range b.list[b.from:] {
		list = append(list, string(m.data))
	}
	return list
}

func TestOutboxModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, seed))
	var b outbox
	var n naive
	for i := range 20_000 {
		switch rng.IntN(9) {
		case 0, 1, 2:
			if b.len() == 40 {
				continue
			}
			m := strconv.Itoa(i)
			b.push(frame.Text, []byte(m))
			n.waiting = append(n.waiting, m)
		case 3, 4:
			if b.next == b.end() {
				continue
			}
			m, number, first := b.hand()
			require.Equal(t, len(n.again) == 0, first)
			from := &n.again
			if first {
				from = &n.waiting
			}
			require.Equal(t, (*from)[0], string(m.data))
			require.Equal(t, n.base+uint64(len(n.handed))+1, number)
			if rng.IntN(3) == 0 {
				b.takeBack(number, first)
				continue
			}
			n.handed = append(n.handed, (*from)[0])
			*from = (*from)[1:]
		case 5:
			k := rng.IntN(len(n.handed) + 1)
			b.drop(n.base + uint64(k))
			n.handed = n.handed[k:]
			n.base += uint64(k)
			b.drop(n.base - uint64(rng.IntN(int(min(n.base, 3))+1))) // late ones change nothing
		case 6:
			if count, bytes := b.removable(); count > 0 {
				require.Len(t, n.waiting, count)
				require.Equal(t, len(join(n.waiting)), bytes)
				require.Equal(t, n.waiting[0], string(b.remove().data))
				n.waiting = n.waiting[1:]
			}
		case 7:
			b.rewind()
			n.again, n.handed = append(n.handed, n.again...), nil
		case 8:
			if len(n.handed)+len(n.again) == 0 {
				b.pass()
				if b.len() < 40 && rng.IntN(3) == 0 {
					b.push(frame.Text, []byte("p")) // meanwhile
					n.waiting = append(n.waiting, "p")
					b.passBack()
					continue
				}
				n.base++
			}
		}
		require.Equal(t, n.all(), append([]string{}, b.texts()...))
		require.Equal(t, len(join(n.all())), b.bytes)
		require.Equal(t, n.base, b.base)
		require.LessOrEqual(t, len(b.list), 2*b.len()+1)
	}
}

func join(list []string) (s string) {
	for _, m := range list {
		s += m
	}
	return s
}
