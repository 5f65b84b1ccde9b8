package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdleUnknown(t *testing.T) {
	_, err := Idle{Connections: 10}.Run(t.Context(), serve(t, false, echoAll), nil)
	require.ErrorContains(t, err, "cannot be read")
}
