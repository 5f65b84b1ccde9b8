package serve

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// startRedis starts a real redis-server and returns its address and how to kill it.
func startRedis(t *testing.T, port string) (address string, kill func()) {
	return startRedisIn(t, port, t.TempDir())
}

// startRedisIn is startRedis with its data in a directory.
func startRedisIn(t *testing.T, port, dir string, keep ...string) (address string, kill func()) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	for port == "" { // below those that connections are given: such a one could be taken while the server is killed
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			_, port, _ = net.SplitHostPort(ln.Addr().String())
			require.NoError(t, ln.Close())
		}
	}
	cmd := exec.Command(path, append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", ""}, keep...)...)
	require.NoError(t, cmd.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	address = "127.0.0.1:" + port
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
	return address, kill
}

// raw is what redis-cli says, without redis-cli. It returns the first line of the answer.
func raw(t *testing.T, address, command string) string {
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "%s\r\n", command)
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// say publishes. It returns how many subscribers there are.
func say(t *testing.T, address, channel, text string) (n int) {
	line := raw(t, address, "PUBLISH "+channel+" "+text)
	_, err := fmt.Sscanf(line, ":%d", &n)
	require.NoError(t, err, line)
	return n
}

// until reads until a text comes.
func until(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	for {
		_, got, err := ws.ReadMessage()
		require.NoError(t, err)
		if string(got) == text {
			return
		}
	}
}

// B10: what any Redis client publishes reaches every client of every node, and so does
// what a client sends; also when the server has been killed and has come back.
func TestB10RedisReachesAll(t *testing.T) {
	address, kill := startRedis(t, "")
	t.Setenv("WS_REDIS_CHANNELS", "global")
	var clients []*websocket.Conn
	for _, args := range [][]string{
		{"--redis", "redis://" + address, "--redis-channels", "global,more", "-f", "broadcast_pubsub"},
		{"--redis=redis://" + address, "-f", "broadcast_pubsub", "--redis_key", "penstock"},
	} {
		url := serveURL(t, nil, args...)
		clients = append(clients, dial(t, url), dial(t, url))
	}
	subscribed := func() bool { return say(t, address, "global", "probe") == 2 }
	require.Eventually(t, subscribed, patience, 5*time.Millisecond)
	say(t, address, "global", "hello")
	for _, ws := range clients {
		until(t, ws, "hello")
	}
	require.NoError(t, clients[0].WriteMessage(websocket.TextMessage, []byte("from a client")))
	for _, ws := range clients {
		until(t, ws, "from a client")
	}
	require.Equal(t, 1, say(t, address, "more", "half"), "the first node alone was told of it")
	until(t, clients[0], "half")

	kill()
	_, port, _ := strings.Cut(address, ":")
	startRedis(t, port)
	require.Eventually(t, subscribed, patience, 5*time.Millisecond)
	say(t, address, "global", "again")
	for _, ws := range clients {
		until(t, ws, "again")
	}
}

func TestNATSReachesAll(t *testing.T) {
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	defer s.Shutdown()
	require.True(t, s.ReadyForConnections(patience))
	t.Setenv("WS_NATS_URL", s.ClientURL())
	var clients []*websocket.Conn
	for range 2 {
		clients = append(clients, dial(t, serveURL(t, nil, "--redis-channels", "global", "-f", "broadcast_pubsub")))
	}
	nc, err := client.Connect(s.ClientURL())
	require.NoError(t, err)
	defer nc.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // until stop: nobody tells when both nodes have subscribed
		defer close(stopped)
		for {
			_ = nc.Publish("global", []byte("hello"))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	for _, ws := range clients {
		until(t, ws, "hello")
	}
	close(stop)
	<-stopped
	require.NoError(t, clients[1].WriteMessage(websocket.TextMessage, []byte("from a client")))
	for _, ws := range clients {
		until(t, ws, "from a client")
	}
}

// A wrong setting is a usage error, on one line and without the password.
func TestClusterUsage(t *testing.T) {
	for args, says := range map[string]string{
		"-f broadcast_pubsub":                     "needs --redis or --nats",
		"--redis-channels global":                 "needs --redis or --nats",
		"--redis redis://h -f broadcast_pubsub":   "needs --redis-channels",
		"--redis redis://h --nats nats://h":       "exclude each other",
		"--redis http://u:secret@h":               "--redis: allowed is",
		"--redis redis://u:secret@h:x":            "--redis: allowed is",
		"--nats nats://u:secret@:port":            "--nats: allowed is",
		"--redis redis://h --redis-channels a,,b": "--redis-channels=",
		"--redis redis://h --redis-channels a*":   "--redis-channels=",
		"--redis redis://h --redis-key .":         "--redis-key=",
	} {
		t.Run(args, func(t *testing.T) {
			cmd := NewCommand(Config{})
			cmd.SetArgs(append([]string{"-p", "0"}, strings.Fields(args)...))
			err := cmd.Execute()
			var wrong *UsageError
			require.ErrorAs(t, err, &wrong)
			require.Contains(t, err.Error(), says)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
