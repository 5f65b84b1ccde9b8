package nats_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/brokertest"
	"github.com/penstock-ws/penstock/engine/cluster/nats"
)

// asServer in the environment makes this program a nats-server, so that it can be killed.
const asServer = "PENSTOCK_TEST_NATS_PORT"

func TestMain(m *testing.M) {
	if port, err := strconv.Atoi(os.Getenv(asServer)); err == nil {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true})
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
	cmd  *exec.Cmd
}

func startChild(t testing.TB) *child {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &child{port: ln.Addr().(*net.TCPAddr).Port}
	require.NoError(t, ln.Close())
	c.start(t)
	t.Cleanup(func() { c.kill(t) })
	return c
}

func (c *child) address() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

func (c *child) start(t testing.TB) {
	self, err := os.Executable()
	require.NoError(t, err)
	c.cmd = exec.Command(self)
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", asServer, c.port))
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

func harness(t testing.TB) brokertest.Harness {
	c := startChild(t)
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
	}
}

func TestContract(t *testing.T) { brokertest.Contract(t, harness) }

func TestNodes(t *testing.T) { brokertest.Nodes(t, harness) }

func BenchmarkCrossNode(b *testing.B) { brokertest.Cost(b, harness(b)) }
