package bench

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	require.Equal(t, runtime.NumCPU(), m.CPUs)
	require.Equal(t, runtime.GOOS, m.OS)
	require.Equal(t, runtime.Version(), m.Go)
	if runtime.GOOS == "linux" {
		require.NotEmpty(t, m.Kernel)
	}
}
