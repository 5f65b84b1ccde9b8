package engine

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// lender notes what a socket asks for.
type lender struct{ most, out int }

func (l *lender) lend(most int) []byte {
	l.most = max(l.most, most)
	l.out++
	return make([]byte, most)
}

func (l *lender) giveBack() { l.out-- }

// A socket that can only block holds its memory while it waits: 4 KiB, whatever
// ReadBufferBytes is. It gives it back at the end.
func TestStreamSocketHoldsLittle(t *testing.T) {
	here, there := net.Pipe()
	s := &streamSocket{conn: here}
	var m lender
	go func() {
		_, _ = there.Write(make([]byte, 10_000))
		_ = there.Close()
	}()
	for got := 0; got < 10_000; {
		n, err := s.read(&m)
		require.NoError(t, err)
		got += n
		m.giveBack()
	}
	_, err := s.read(&m)
	require.Error(t, err)
	require.Equal(t, 4<<10, m.most)
	require.Zero(t, m.out)
}
