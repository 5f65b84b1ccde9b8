package hub

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// conns returns values that a set can tell apart; a set looks into none of them.
func conns(n int) []*engine.Conn {
	list := make([]*engine.Conn, n)
	for i := range list {
		list[i] = new(engine.Conn)
	}
	return list
}

// TestSetAgainstModel holds the set against a map under random operations, and
// every snapshot against what the map was when it was taken.
func TestSetAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	all := conns(50)
	model := map[*engine.Conn]bool{}
	var s set
	type view struct {
		got  []*engine.Conn
		want map[*engine.Conn]bool
	}
	var views []view
	for range 20000 {
		c := all[random.IntN(len(all))]
		switch random.IntN(5) {
		case 0, 1:
			require.Equal(t, !model[c], s.add(c))
			model[c] = true
		case 2, 3:
			require.Equal(t, model[c], s.remove(c))
			delete(model, c)
		case 4:
			views = append(views, view{s.freeze(), maps.Clone(model)})
		}
		require.Equal(t, len(model), len(s.members))
	}
	for _, v := range views { // late: nothing may have written into them
		require.Len(t, v.got, len(v.want))
		for _, c := range v.got { // each once, or the lengths would differ
			require.True(t, v.want[c])
			delete(v.want, c)
		}
	}
}

func TestSetForgets(t *testing.T) {
	var s set
	list := conns(3)
	for _, c := range list {
		s.add(c)
	}
	before := s.freeze()
	s.remove(list[1])
	require.Nil(t, s.frozen, "the set keeps a connection that has left in memory")
	for _, spare := range s.members[len(s.members):cap(s.members)] {
		require.True(t, spare == nil, "spare room keeps a connection in memory")
	}
	s.remove(list[0])
	s.remove(list[2])
	require.Nil(t, s.members)
	require.Nil(t, s.position)
	require.Len(t, before, 3)
}

// TestJoiningIsNotQuadratic counts bytes: copying the members at each of 10,000
// joins would be 400 MB.
func TestJoiningIsNotQuadratic(t *testing.T) {
	list := conns(10000)
	var s set
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, c := range list {
		s.add(c)
		_ = len(s.members)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

func TestSnapshotOfUnchangedSetAllocatesNothing(t *testing.T) {
	var s set
	for _, c := range conns(1000) {
		s.add(c)
	}
	first := s.freeze()
	require.Zero(t, testing.AllocsPerRun(100, func() { s.freeze() }))
	require.Same(t, &first[0], &s.freeze()[0])
}

func BenchmarkJoinLeave(b *testing.B) {
	list := conns(10000)
	b.ReportAllocs()
	for b.Loop() {
		var s set
		for _, c := range list {
			s.add(c)
		}
		for _, c := range list {
			s.remove(c)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*len(list)), "ns/change")
}

// BenchmarkSnapshotAfterChange is the most that a change can cost a broadcast to
// 10,000 members.
func BenchmarkSnapshotAfterChange(b *testing.B) {
	list := conns(10000)
	var s set
	for _, c := range list {
		s.add(c)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.remove(list[0])
		s.add(list[0])
		s.freeze()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(list)), "ns/member")
}
