package redis_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/brokertest"
	"github.com/penstock-ws/penstock/engine/cluster/redis"
)

// patience is how long something may take that must happen.
const patience = 20 * time.Second

// A fleet is a Redis Cluster of real servers: masters, and behind them as many replicas.
type fleet struct {
	servers []*server
}

const masters = 3

func startFleet(t testing.TB, replicas bool) *fleet {
	f := &fleet{}
	n := masters
	if replicas {
		n *= 2
	}
	bus := make([]string, n) // which would otherwise be the port and 10000, if there is such a port
	for i := range n {
		bus[i] = fmt.Sprint(brokertest.FreePort(t))
		f.servers = append(f.servers, startServer(t, "--cluster-enabled", "yes", "--cluster-port", bus[i], "--cluster-node-timeout", "1000", "--appendonly", "yes"))
	}
	for i, s := range f.servers[:masters] {
		first, last := i*16384/masters, (i+1)*16384/masters-1
		require.Equal(t, "+OK", s.raw(t, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last)))
		require.Equal(t, "+OK", s.raw(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)))
	}
	for _, s := range f.servers[1:] {
		require.Equal(t, "+OK", s.raw(t, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(f.servers[0].port), bus[0]))
	}
	for i, s := range f.servers[masters:] {
		id := f.servers[i].reply(t, "CLUSTER", "MYID")
		require.Eventually(t, func() bool { return s.raw(t, "CLUSTER", "REPLICATE", id) == "+OK" }, patience, 20*time.Millisecond)
	}
	f.wait(t)
	for _, s := range f.servers[masters:] {
		s.waitSynced(t)
	}
	return f
}

// waitSynced waits until a replica has what its master has.
func (s *server) waitSynced(t testing.TB) {
	require.Eventually(t, func() bool { return strings.Contains(s.reply(t, "INFO", "replication"), "master_link_status:up") }, patience, 20*time.Millisecond)
}

// reply is the text of an answer.
func (s *server) reply(t testing.TB, words ...string) string {
	c := client.NewClient(&client.Options{Addr: s.address(), Protocol: 2})
	defer func() { _ = c.Close() }()
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	text, err := c.Do(context.Background(), args...).Text()
	if err != nil {
		return err.Error()
	}
	return text
}

// wait waits until all servers that run agree that all is well.
func (f *fleet) wait(t testing.TB) {
	require.Eventually(t, func() bool {
		for _, s := range f.servers {
			if s.cmd == nil {
				continue
			}
			info := s.reply(t, "CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(f.servers))) {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond, "the cluster is well")
}

func (f *fleet) kill(t testing.TB) {
	for _, s := range f.servers {
		s.kill(t)
	}
}

func (f *fleet) restart(t testing.TB) {
	for _, s := range f.servers {
		s.start(t)
	}
}

func (f *fleet) url() string {
	var list []string
	for _, s := range f.servers {
		list = append(list, s.address())
	}
	return "redis+cluster://" + strings.Join(list, ",")
}

func (f *fleet) broker(t testing.TB, sharded func(string) bool) *redis.Broker {
	b, err := redis.New(redis.Config{URL: f.url(), Silence: silence, Sharded: sharded})
	require.NoError(t, err)
	return b
}

// inCluster is a harness whose nodes share a Redis Cluster.
func inCluster(t testing.TB, sharded func(string) bool) func(t testing.TB) brokertest.Harness {
	f := startFleet(t, false) // one for all cases: it takes seconds to be well
	return func(t testing.TB) brokertest.Harness {

		return brokertest.Harness{
			New:     func(t testing.TB) cluster.Broker { return f.broker(t, sharded) },
			Publish: f.publisher(t, sharded),
			Kill:    f.kill,
			Restart: f.restart,
			Archive: func(_ testing.TB, b cluster.Broker) cluster.Archive { return b.(*redis.Broker) },
		}
	}
}

func (f *fleet) publisher(t testing.TB, sharded func(string) bool) func(testing.TB, string, string) {
	var addresses []string
	for _, s := range f.servers {
		addresses = append(addresses, s.address())
	}
	c := client.NewClusterClient(&client.ClusterOptions{Addrs: addresses, Protocol: 2})
	t.Cleanup(func() { _ = c.Close() })
	return func(t testing.TB, channel, payload string) {
		if sharded(channel) {
			require.NoError(t, c.SPublish(context.Background(), channel, payload).Err())
		} else {
			require.NoError(t, c.Publish(context.Background(), channel, payload).Err())
		}
	}
}

func all(string) bool { return true }

func ofNodes(channel string) bool { return strings.HasPrefix(channel, "penstock.") }

// What a broker has to do, sharded pub/sub does, too.
func TestShardedContract(t *testing.T) {
	t.Parallel()
	brokertest.Contract(t, inCluster(t, all))
}

func TestShardedArchive(t *testing.T) {
	t.Parallel()
	brokertest.Archive(t, inCluster(t, all))
}

// TestShardedReachesOneServer: a channel of the nodes is at one server of three, a plain
// one at whichever a node has asked.
func TestShardedReachesOneServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	f := startFleet(t, false)
	b := f.broker(t, ofNodes)
	live := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, cluster.Events{
			Received: func(cluster.Message) {}, Live: func(channel string) { live <- channel }, Lost: func(err error) { t.Log(err) },
		})
	}()
	defer func() { cancel(); <-ended }()
	const rooms = 30
	for i := range rooms {
		b.Subscribe(fmt.Sprint("penstock.room.", i))
	}
	b.Subscribe("global")
	for range rooms + 1 {
		select {
		case <-live:
		case <-time.After(patience):
			t.Fatal("not all are live")
		}
	}
	total := 0
	for _, s := range f.servers {
		var n int
		_, err := fmt.Sscanf(s.raw(t, "PUBSUB", "SHARDCHANNELS"), "*%d", &n)
		require.NoError(t, err)
		require.Less(t, n, rooms, "one server has them all")
		require.Positive(t, n)
		total += n
	}
	require.Equal(t, rooms, total)
}

// TestShardFailover: when the master of a shard dies its replica takes over, and the nodes
// go there by themselves, in the end: what is lost on the way is told.
func TestShardFailover(t *testing.T) {
	t.Parallel() // it waits most of the time
	f := startFleet(t, true)
	pub, sub := f.broker(t, all), f.broker(t, all)
	received, live, lost := make(chan string, 1000), make(chan string, 1000), make(chan error, 1000)
	run(t, pub, cluster.Events{Received: func(cluster.Message) {}, Live: func(string) {}, Lost: func(error) {}})
	run(t, sub, cluster.Events{
		Received: func(m cluster.Message) { received <- string(m.Payload) },
		Live:     func(c string) { live <- c }, Lost: func(err error) { lost <- err },
	})
	sub.Subscribe("a", "b", "c", "d", "e")
	for range 5 {
		hear(t, live)
	}
	f.servers[0].kill(t)
	require.Error(t, hear(t, lost), "what was lost with the server is told")
	for _, channel := range []string{"a", "b", "c", "d", "e"} {
		comesThrough(t, pub, received, channel)
	}
}

// comesThrough publishes on a channel until it is received.
func comesThrough(t *testing.T, pub *redis.Broker, received <-chan string, channel string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 3*patience; {
		_, _ = pub.Publish(t.Context(), []cluster.Message{{Channel: channel, Payload: []byte(channel)}}) // fails for a while
		select {
		case got := <-received:
			if got == channel {
				return
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("nothing comes through on " + channel)
}

// run runs a broker until the test ends.
func run(t *testing.T, b *redis.Broker, to cluster.Events) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, to)
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

func hear[T any](t *testing.T, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return got
}

// TestSentinelFailover: the sentinels say where the master is, and when it dies, which
// server is the next one; what was kept is there.
func TestSentinelFailover(t *testing.T) {
	t.Parallel() // it waits most of the time
	master := startServer(t, "--appendonly", "yes")
	replica := startServer(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.port))
	replica.waitSynced(t)
	url := "redis+sentinel://" + startSentinel(t, master.port) + "/main"
	open := func() *redis.Broker {
		b, err := redis.New(redis.Config{URL: url, Silence: silence})
		require.NoError(t, err)
		return b
	}
	pub, sub := open(), open()
	received, live, lost := make(chan string, 1000), make(chan string, 1000), make(chan error, 1000)
	run(t, pub, cluster.Events{Received: func(cluster.Message) {}, Live: func(string) {}, Lost: func(error) {}})
	run(t, sub, cluster.Events{
		Received: func(m cluster.Message) { received <- string(m.Payload) },
		Live:     func(c string) { live <- c }, Lost: func(err error) { lost <- err },
	})
	sub.Subscribe("a")
	hear(t, live)
	kept := cluster.Batch{By: "x", Number: 1, Limits: hubLimits, Messages: []cluster.Kept{text("kept")}}
	first, err := pub.Append(t.Context(), "a", kept)
	require.NoError(t, err)
	keys := master.raw(t, "DBSIZE")
	require.NotEqual(t, ":0", keys)
	require.Eventually(t, func() bool { return replica.raw(t, "DBSIZE") == keys }, patience, 5*time.Millisecond, "the replica has it") // WAIT is for what the same connection has written
	master.kill(t)
	require.Error(t, hear(t, lost))
	hear(t, live)
	comesThrough(t, pub, received, "a")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		again, err := pub.Append(context.Background(), "a", kept)
		assert.NoError(t, err)
		assert.Equal(t, first, again, "a batch that the old master had taken is known")
	}, 3*patience, 20*time.Millisecond)
	page, err := sub.Read(t.Context(), "a", 0)
	require.NoError(t, err)
	require.Len(t, page.Messages, 1)
}

// startSentinel starts one that is enough to decide, and returns its address.
func startSentinel(t testing.TB, master int) string {
	s := startServer(t)
	s.kill(t)
	file := filepath.Join(s.dir, "sentinel.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `port %d
bind 127.0.0.1
dir %s
sentinel monitor main 127.0.0.1 %d 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 2000
`, s.port, s.dir, master), 0o600))
	s.launch(t, file, "--sentinel")
	require.Eventually(t, func() bool {
		return strings.Contains(s.reply(t, "INFO", "sentinel"), "status=ok,address=127.0.0.1:"+fmt.Sprint(master)+",slaves=1")
	}, patience, 20*time.Millisecond)
	return s.address()
}

// Wrong URLs are refused without a word of what is in them.
func TestCheckURL(t *testing.T) {
	for _, right := range []string{
		"redis://h", "rediss://u:p@h:1/2", "unix://u:p@/run/redis?db=1", "redis+sentinel://h:1,i:2/main", "rediss+sentinel://u:p@h:1/main/3", "redis+cluster://u:p%40@h:1,[::1]:2",
	} {
		require.NoError(t, redis.CheckURL(right), right)
	}
	for _, wrong := range []string{
		"", "http://canary@h", "redis://canary@h:x", "redis+sentinel://canary@h:1", "redis+cluster://canary@h:1/main", "redis+cluster://canary@h", "redis+sentinel://h:1/main/canary",
		"redis+x://canary@h:1", "http+cluster://canary@h:1", "redis+cluster://h:1,,i:2", "redis+cluster://canary%zz@h:1",
	} {
		err := redis.CheckURL(wrong)
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "canary")
	}
}

// Nodes do not notice that their channels are spread over servers, and those of others are
// not.
func TestShardedNodes(t *testing.T) {
	t.Parallel()
	brokertest.Nodes(t, inCluster(t, ofNodes))
}

// TestShardMoves: a channel that another server gets, because its slot does, is followed
// there.
func TestShardMoves(t *testing.T) {
	t.Parallel()
	f := startFleet(t, false)
	pub, sub := f.broker(t, all), f.broker(t, all)
	received, live, lost := make(chan string, 1000), make(chan string, 1000), make(chan error, 1000)
	run(t, pub, cluster.Events{Received: func(cluster.Message) {}, Live: func(string) {}, Lost: func(error) {}})
	run(t, sub, cluster.Events{
		Received: func(m cluster.Message) { received <- string(m.Payload) },
		Live:     func(c string) { live <- c }, Lost: func(err error) { lost <- err },
	})
	sub.Subscribe("a")
	hear(t, live)
	slot := strings.TrimPrefix(f.servers[0].raw(t, "CLUSTER", "KEYSLOT", "a"), ":")
	from := 0
	for f.servers[from].raw(t, "PUBSUB", "SHARDCHANNELS") != "*1" {
		from++
	}
	to := f.servers[(from+1)%masters]
	id := to.reply(t, "CLUSTER", "MYID")
	require.Equal(t, "+OK", to.raw(t, "CLUSTER", "SETSLOT", slot, "NODE", id))
	require.Equal(t, "+OK", f.servers[from].raw(t, "CLUSTER", "SETSLOT", slot, "NODE", id))
	require.Error(t, hear(t, lost))
	hear(t, live)
	require.Eventually(t, func() bool { return to.raw(t, "PUBSUB", "SHARDCHANNELS") == "*1" }, patience, 20*time.Millisecond)
	comesThrough(t, pub, received, "a")
}
