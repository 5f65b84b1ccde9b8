package brokertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// FreePort returns a TCP port on which nobody listens, for a broker that is to be killed and
// started again. It is below those that connections are given: such a one could be taken
// meanwhile.
func FreePort(t testing.TB) int {
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			require.NoError(t, ln.Close())
			return ln.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}
