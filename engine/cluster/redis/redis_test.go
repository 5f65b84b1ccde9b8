package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/brokertest"
	"github.com/penstock-ws/penstock/engine/cluster/redis"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

func TestMain(m *testing.M) {
	logging.Disable() // the library's own, of every dial to a server that has been killed
	// The pool that package ants has whether one uses it or not.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// silence is what the tests' connections bear.
const silence = 800 * time.Millisecond

// A server is a real redis-server.
type server struct {
	t    testing.TB
	path string
	dir  string
	port int
	keep []string // how it keeps its data
	cmd  *exec.Cmd
}

func startServer(t testing.TB, keep ...string) *server {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	s := &server{t: t, path: path, dir: t.TempDir(), keep: keep, port: brokertest.FreePort(t)}
	s.start(t)
	t.Cleanup(func() { s.kill(t) })
	return s
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *server) start(t testing.TB) {
	args := []string{"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", ""}
	s.launch(t, append(args, s.keep...)...)
}

// launch starts the program and waits until it listens.
func (s *server) launch(t testing.TB, args ...string) {
	s.cmd = exec.Command(s.path, args...)
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.address())
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}, 20*time.Second, 5*time.Millisecond, "redis-server listens")
}

// kill is kill -9.
func (s *server) kill(testing.TB) {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// raw says one command as any client could, and returns the first line of the answer.
func (s *server) raw(t testing.TB, words ...string) string {
	c, err := net.Dial("tcp", s.address())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "%s\r\n", strings.Join(words, " "))
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func (s *server) broker(t testing.TB, address string) cluster.Broker {
	b, err := redis.New(redis.Config{URL: "redis://" + address, Silence: silence})
	require.NoError(t, err)
	return b
}

func harness(t testing.TB) brokertest.Harness { return harnessOf(t) }

// durable is a Redis that keeps what it has taken when it is killed.
func durable(t testing.TB) brokertest.Harness {
	return harnessOf(t, "--appendonly", "yes", "--appendfsync", "always")
}

func harnessOf(t testing.TB, keep ...string) brokertest.Harness {
	s := startServer(t, keep...)
	return brokertest.Harness{
		New:     func(t testing.TB) cluster.Broker { return s.broker(t, s.address()) },
		Publish: func(t testing.TB, channel, payload string) { s.raw(t, "PUBLISH", channel, payload) },
		Kill:    s.kill,
		Restart: s.start,
		Through: func(t testing.TB, p *brokertest.Proxy) cluster.Broker { return s.broker(t, p.Address()) },
		Address: s.address(),
		Archive: func(_ testing.TB, b cluster.Broker) cluster.Archive { return b.(*redis.Broker) },
		Dir:     s.dir,
		Wipe:    func(t testing.TB) { s.raw(t, "FLUSHALL") },
	}
}

func TestArchive(t *testing.T) { brokertest.Archive(t, harness) }

// TestBounds: no more is kept than the room wants, for no longer.
func TestBounds(t *testing.T) {
	s := startServer(t)
	b := s.broker(t, s.address()).(*redis.Broker)
	for i := range 30 {
		_, err := b.Append(context.Background(), "c", cluster.Batch{
			By: "x", Number: uint64(i), Limits: hub.History{Messages: 3, Age: time.Minute},
			Messages: []cluster.Kept{{When: time.Now(), Type: frame.Text}},
		})
		require.NoError(t, err)
	}
	require.Equal(t, ":3", s.raw(t, "XLEN", "{c}:log"))
	for _, key := range []string{"{c}:log", "{c}:at", "{c}:by:x"} {
		require.NotEqual(t, ":-1", s.raw(t, "TTL", key), "%s stays for ever", key)
	}
	require.LessOrEqual(t, len(s.raw(t, "TTL", "{c}:log")), len(":60"))
}

var hubLimits = hub.History{Messages: 100}.WithDefaults()

func text(payload string) cluster.Kept {
	return cluster.Kept{When: time.Now(), Type: frame.Text, Payload: []byte(payload)}
}

func TestHistories(t *testing.T) { brokertest.Histories(t, durable) }

func TestContract(t *testing.T) { brokertest.Contract(t, harness) }

func TestNodes(t *testing.T) { brokertest.Nodes(t, harness) }

func BenchmarkCrossNode(b *testing.B) { brokertest.Cost(b, harness(b)) }

// TestSetOnServer: what the server knows is the set, and nothing that has left it.
func TestSetOnServer(t *testing.T) {
	s := startServer(t)
	b := s.broker(t, s.address())
	b.Subscribe("a", "b")
	live := make(chan string, 10)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, cluster.Events{
			Received: func(cluster.Message) {}, Live: func(channel string) { live <- channel }, Lost: func(error) {},
		})
	}()
	defer func() { cancel(); <-ended }()
	<-live
	<-live
	require.Equal(t, "*2", s.raw(t, "PUBSUB", "CHANNELS"))
	b.Unsubscribe("a", "b")
	require.Eventually(t, func() bool { return s.raw(t, "PUBSUB", "CHANNELS") == "*0" }, 20*time.Second, 5*time.Millisecond)
}
