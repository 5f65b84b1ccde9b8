package channels

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConfirmed: the confirmation of a subscription that has been given up since makes
// nothing live: only the last one does.
func TestConfirmed(t *testing.T) {
	s := New()
	s.Renew()
	tell := func(enters, leaves int) {
		t.Helper()
		enter, leave := s.Changes()
		require.Len(t, enter, enters)
		require.Len(t, leave, leaves)
	}
	s.Subscribe("c")
	tell(1, 0)
	s.Unsubscribe("c")
	tell(0, 1)
	s.Subscribe("c")
	tell(1, 0)
	tell(0, 0)
	require.False(t, s.Confirmed("c"), "the first has been given up")
	require.False(t, s.Live("c"))
	require.True(t, s.Confirmed("c"))
	require.True(t, s.Live("c"))
	s.Unsubscribe("c")
	require.False(t, s.Confirmed("c"), "it is not wanted")
	s.Subscribe("c")
	tell(1, 0) // though the server was not told that it had left: who has subscribed waits for its word
	require.True(t, s.Confirmed("c"))
	tell(0, 0)
	s.Renew()
	require.False(t, s.Live("c"))
	tell(1, 0) // a new connection is told all
	require.True(t, s.Confirmed("c"))
}

// TestChanged: whoever waits for changes misses none, and is not woken without any.
func TestChanged(t *testing.T) {
	s := New()
	select {
	case <-s.Changed():
		t.Fatal("nothing has changed")
	default:
	}
	s.Subscribe("a", "b")
	s.Unsubscribe("b", "c")
	<-s.Changed()
	s.Renew()
	<-s.Changed()
	enter, leave := s.Changes()
	require.Equal(t, []string{"a"}, enter)
	require.Empty(t, leave, "the server has never heard of them")
}
