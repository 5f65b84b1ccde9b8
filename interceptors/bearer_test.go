package interceptors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/interceptors"
)

// TestBearerToken: the scheme in any case, one space or more, and no other scheme.
func TestBearerToken(t *testing.T) {
	for line, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", " BEARER \t abc ": "abc", "Bearer a b": "a b", "Bearer ": "", "Bearer": "",
	} {
		token, ok := interceptors.BearerToken(line)
		require.True(t, ok, "%q", line)
		require.Equal(t, want, token, "%q", line)
	}
	for _, line := range []string{"", "Basic abc", "Bearerabc", "Bear er abc", "Bearer\tabc", "abc Bearer"} {
		_, ok := interceptors.BearerToken(line)
		require.False(t, ok, "%q", line)
	}
}
