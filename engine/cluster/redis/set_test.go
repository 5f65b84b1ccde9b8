package redis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConfirmed: the confirmation of a subscription that has been given up since makes
// nothing live: only the last one does.
func TestConfirmed(t *testing.T) {
	b, err := New(Config{URL: "redis://h"})
	require.NoError(t, err)
	defer func() { _ = b.client.Close() }()
	b.forget()
	tell := func(enters, leaves int) {
		t.Helper()
		enter, leave := b.changes()
		require.Len(t, enter, enters)
		require.Len(t, leave, leaves)
	}
	b.Subscribe("c")
	tell(1, 0)
	b.Unsubscribe("c")
	tell(0, 1)
	b.Subscribe("c")
	tell(1, 0)
	tell(0, 0)
	require.False(t, b.confirmed("c"), "the first has been given up")
	require.True(t, b.confirmed("c"))
	b.Unsubscribe("c")
	require.False(t, b.confirmed("c"), "it is not wanted")
	b.Subscribe("c")
	tell(1, 0) // though the server was not told that it had left: who has subscribed waits for its word
	require.True(t, b.confirmed("c"))
	tell(0, 0)
	b.forget()
	tell(1, 0) // a new connection is told all
}
