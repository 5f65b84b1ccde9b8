package nats_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/brokertest"
	"github.com/penstock-ws/penstock/engine/cluster/nats"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// asServer in the environment makes this program a nats-server, so that it can be killed.
const asServer = "PENSTOCK_TEST_NATS_PORT"

// asKeeper is where it keeps streams, if it keeps any.
const asKeeper = "PENSTOCK_TEST_NATS_DIR"

func TestMain(m *testing.M) {
	if port, err := strconv.Atoi(os.Getenv(asServer)); err == nil {
		dir := os.Getenv(asKeeper)
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: dir != "", StoreDir: dir})
		if err != nil {
			panic(err)
		}
		s.Start()
		_, _ = os.Stdin.Read(make([]byte, 1)) // ends with the parent
		os.Exit(0)
	}
	// The pool that package ants has whether one uses it or not.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// silence is what the tests' connections bear.
const silence = 800 * time.Millisecond

// A child is a real nats-server in a process of its own.
type child struct {
	port int
	dir  string // "": without JetStream
	cmd  *exec.Cmd
}

func startChild(t testing.TB, dir string) *child {
	c := &child{port: brokertest.FreePort(t), dir: dir}
	c.start(t)
	t.Cleanup(func() { c.kill(t) })
	return c
}

func (c *child) address() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

func (c *child) start(t testing.TB) {
	self, err := os.Executable()
	require.NoError(t, err)
	c.cmd = exec.Command(self)
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", asServer, c.port), asKeeper+"="+c.dir)
	_, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", c.address())
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}, 20*time.Second, 5*time.Millisecond, "nats-server listens")
}

// kill is kill -9.
func (c *child) kill(testing.TB) {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		c.cmd = nil
	}
}

func broker(t testing.TB, address string) cluster.Broker {
	b, err := nats.New(nats.Config{URL: "nats://" + address, Silence: silence})
	require.NoError(t, err)
	return b
}

func harness(t testing.TB) brokertest.Harness { return harnessOf(t, "") }

// durable is a NATS with JetStream in files.
func durable(t testing.TB) brokertest.Harness { return harnessOf(t, t.TempDir()) }

func harnessOf(t testing.TB, dir string) brokertest.Harness {
	c := startChild(t, dir)
	return brokertest.Harness{
		New: func(t testing.TB) cluster.Broker { return broker(t, c.address()) },
		Publish: func(t testing.TB, channel, payload string) {
			nc, err := client.Connect("nats://" + c.address())
			require.NoError(t, err)
			defer nc.Close()
			require.NoError(t, nc.Publish(channel, []byte(payload)))
			require.NoError(t, nc.Flush())
		},
		Kill:    c.kill,
		Restart: c.start,
		Through: func(t testing.TB, p *brokertest.Proxy) cluster.Broker { return broker(t, p.Address()) },
		Address: c.address(),
		Archive: func(_ testing.TB, b cluster.Broker) cluster.Archive {
			return b.(*nats.Broker).Archive(nats.ArchiveConfig{Messages: 10000})
		},
		Dir:  dir,
		Wipe: c.wipe,
	}
}

// wipe has the server forget what it keeps.
func (c *child) wipe(t testing.TB) {
	nc, err := client.Connect("nats://" + c.address())
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	s, err := js.Stream(context.Background(), "PENSTOCK_HISTORIES")
	require.NoError(t, err)
	require.NoError(t, s.Purge(context.Background()))
}

func TestArchive(t *testing.T) { brokertest.Archive(t, durable) }

// TestBounds: the stream keeps as many for each room as it was made for, and refuses rooms
// that want more.
func TestBounds(t *testing.T) {
	c := startChild(t, t.TempDir())
	b, err := nats.New(nats.Config{URL: "nats://" + c.address(), Silence: silence})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, cluster.Events{Received: func(cluster.Message) {}, Live: func(string) {}, Lost: func(error) {}})
	}()
	defer func() { cancel(); <-ended }()
	a := b.Archive(nats.ArchiveConfig{Stream: "SMALL", Messages: 3})
	say := func(i, most int) error {
		_, err := a.Append(ctx, "c", cluster.Batch{
			By: "x", Number: uint64(i), Limits: hub.History{Messages: most}, Messages: []cluster.Kept{{When: time.Now(), Type: frame.Text}},
		})
		return err
	}
	require.Eventually(t, func() bool { return say(0, 3) == nil }, 20*time.Second, 5*time.Millisecond)
	for i := range 30 {
		require.NoError(t, say(i, 3))
	}
	page, err := a.Read(ctx, "c", 0)
	require.NoError(t, err)
	require.Len(t, page.Messages, 3)
	var refused *cluster.RefusedError
	require.ErrorAs(t, say(31, 4), &refused)
}

func TestHistories(t *testing.T) { brokertest.Histories(t, durable) }

func TestContract(t *testing.T) { brokertest.Contract(t, harness) }

func TestNodes(t *testing.T) { brokertest.Nodes(t, harness) }

func BenchmarkCrossNode(b *testing.B) { brokertest.Cost(b, harness(b)) }
