package bench

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A child that burns CPU is seen to, and one that idles is not; both ways of
// reading agree.
func TestProcessCPU(t *testing.T) {
	burning, err := StartServer(t.Context(), childConfig("burn"))
	require.NoError(t, err)
	defer burning.Stop()
	idling, err := StartServer(t.Context(), childConfig("idle"))
	require.NoError(t, err)
	defer idling.Stop()

	burn, idle := processCPU(burning.PID()), processCPU(idling.PID())
	begin, burnBegin, idleBegin, statBegin := time.Now(), burn.read(), idle.read(), statTime(burning.PID())
	held := burn.read().since(burnBegin).ns // that long it may have taken to read the other
	// The machine may be busy: wait for the CPU, not for the clock.
	require.Eventually(t, func() bool {
		return burn.read().since(burnBegin).ns > int64(100*time.Millisecond)
	}, 10*time.Second, 5*time.Millisecond)
	burnt, idled, stat := burn.read().since(burnBegin), idle.read().since(idleBegin), statTime(burning.PID()).since(statBegin)
	held += burn.read().since(burnBegin).ns - burnt.ns
	wall := time.Since(begin)

	const slack = 25 * time.Millisecond // steps of /proc, the scheduler's tick
	require.True(t, burnt.known)
	require.LessOrEqual(t, burnt.ns, int64(len(CPUs()))*int64(wall)+int64(slack))
	require.True(t, idled.known)
	require.Less(t, idled.ns, burnt.ns/4)
	require.True(t, stat.known)
	require.InDelta(t, burnt.ns, stat.ns, float64(held)+float64(slack))
}

func TestOwnCPU(t *testing.T) {
	own := ownCPU()
	before := own.read()
	require.True(t, before.known)
	begin := time.Now()
	for own.read().since(before).ns < int64(5*time.Millisecond) {
		require.Less(t, time.Since(begin), 10*time.Second)
	}
}

func TestUnknownCPU(t *testing.T) {
	require.False(t, processCPU(0).read().known)
	s, err := StartServer(t.Context(), childConfig("idle"))
	require.NoError(t, err)
	clock := processCPU(s.PID())
	before := clock.read()
	require.True(t, before.known)
	require.NoError(t, s.Stop())
	require.False(t, clock.read().known)
	require.Nil(t, clock.read().since(before).per(100))
	require.Nil(t, cpuReading{100, true}.per(0))
	require.InDelta(t, 2.5, *cpuReading{25, true}.per(10), 1e-9)
}

// A server is confined to its CPUs, and its parent is not.
func TestServerPinned(t *testing.T) {
	all := CPUs()
	require.NotEmpty(t, all)
	c := childConfig("idle")
	c.CPUs = all[len(all)-1:]
	s, err := StartServer(t.Context(), c)
	require.NoError(t, err)
	defer s.Stop()
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(s.PID(), &set))
	require.Equal(t, 1, set.Count())
	require.True(t, set.IsSet(c.CPUs[0]))
	require.NoError(t, unix.SchedGetaffinity(os.Getpid(), &set))
	require.Equal(t, len(all), set.Count())

	c.CPUs = []int{1023}
	_, err = StartServer(t.Context(), c)
	require.Error(t, err)
}
