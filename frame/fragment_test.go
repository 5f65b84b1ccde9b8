package frame_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// The frames of a message, read back by a Scanner, are the message (RFC 6455 §5.4).
func TestFragmenter(t *testing.T) {
	payload := []byte("All that is gold does not glitter")
	for size := range len(payload) + 1 {
		for limit := -1; limit <= size+2; limit++ {
			f := frame.NewFragmenter(frame.Text, payload[:size], limit)
			s := frame.NewScanner(nil)
			var got []byte
			count := 0
			for h, fragment, ok := f.Next(); ok; h, fragment, ok = f.Next() {
				count++
				require.EqualValues(t, len(fragment), h.Length)
				require.Equal(t, len(fragment), cap(fragment), "appending would reach the next fragment")
				require.Equal(t, size-len(got)-len(fragment), f.Remaining())
				if !h.Fin {
					require.Len(t, fragment, limit)
				}
				got = append(got, fragment...)
				wire := append(frame.AppendHeader(nil, h), fragment...)
				seen, n, ok, err := s.Next(wire)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, h, seen)
				_, _, _, err = s.Next(wire[n:])
				require.NoError(t, err)
				require.Equal(t, !h.Fin, s.InMessage())
			}
			require.False(t, s.InMessage(), "there was a final frame")
			require.Equal(t, string(payload[:size]), string(got))
			want := 1
			if limit > 0 && size > 0 {
				want = (size + limit - 1) / limit
			}
			require.Equal(t, want, count, "size %d, limit %d", size, limit)
			h, fragment, ok := f.Next()
			require.Zero(t, h)
			require.Nil(t, fragment)
			require.False(t, ok)
		}
	}
}

func TestFragmenterAliasesThePayload(t *testing.T) {
	payload := []byte("abcdef")
	f := frame.NewFragmenter(frame.Binary, payload, 3)
	_, _, _ = f.Next()
	_, fragment, _ := f.Next()
	assert.Same(t, &payload[3], &fragment[0])
}

// RFC 6455 §5.5: control frames must not be fragmented.
func TestFragmenterKeepsControlWhole(t *testing.T) {
	f := frame.NewFragmenter(frame.Ping, []byte("abcdef"), 2)
	h, _, _ := f.Next()
	assert.Equal(t, head(true, frame.Ping, 6), h)
	_, _, ok := f.Next()
	assert.False(t, ok)
}

func TestFragmenterAllocatesNothing(t *testing.T) {
	payload := make([]byte, 1<<20)
	frames := 0
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		f := frame.NewFragmenter(frame.Binary, payload, 16<<10)
		for _, _, ok := f.Next(); ok; _, _, ok = f.Next() {
			frames++
		}
	}))
	assert.NotZero(t, frames)
}
