package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// twoNodes starts two servers that share a Redis.
func twoNodes(t *testing.T, args ...string) (a, b string) {
	address, _ := startRedis(t, "")
	args = append([]string{"--redis", "redis://" + address}, args...)
	return serveURL(t, nil, args...), serveURL(t, nil, args...)
}

// crosses sends a text, again and again, until it has reached a client of another node:
// nobody tells when the nodes know of each other. What else comes is passed over.
func crosses(t *testing.T, from, to *websocket.Conn, text, arrives string) {
	t.Helper()
	arrived := make(chan error, 1)
	go func() { // until it has arrived, or the connection ends
		for {
			_, got, err := to.ReadMessage()
			if err != nil || string(got) == arrives {
				arrived <- err
				return
			}
		}
	}()
	for {
		require.NoError(t, from.WriteMessage(websocket.TextMessage, []byte(text)))
		select {
		case err := <-arrived:
			require.NoError(t, err)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tell(t *testing.T, ws *websocket.Conn, text, answer string) {
	t.Helper()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(text)))
	until(t, ws, answer)
}

func TestBroadcastMessagesAcrossNodes(t *testing.T) {
	a, b := twoNodes(t)
	crosses(t, dial(t, a), dial(t, b), "hello", "hello")
}

func TestTokensAcrossNodes(t *testing.T) {
	a, b := twoNodes(t, "-f", "broadcast_messages_by_token")
	mine, other := dial(t, b+"?token=mine"), dial(t, b+"?token=other")
	crosses(t, dial(t, a+"?token=mine"), mine, "for mine", "for mine")
	require.NoError(t, other.WriteMessage(websocket.TextMessage, []byte("first")))
	_, got, err := other.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "first", string(got), "a message has reached another token's group")
}

func TestRoomsAcrossNodes(t *testing.T) {
	a, b := twoNodes(t, "-f", "rooms")
	here, there := dial(t, a), dial(t, b)
	for _, ws := range []*websocket.Conn{here, there} {
		tell(t, ws, `{"type":"join","room":"r"}`, `{"type":"joined","room":"r"}`)
	}
	crosses(t, here, there, `{"type":"publish","room":"r","data":1}`, `{"type":"message","room":"r","data":1}`)
}

// A client that comes back to another node, after the server has been killed, gets what it
// has missed, and nothing twice.
func TestHistoryAcrossNodes(t *testing.T) {
	dir, keep := t.TempDir(), []string{"--appendonly", "yes", "--appendfsync", "always"}
	address, kill := startRedisIn(t, "", dir, keep...)
	args := []string{"--redis", "redis://" + address, "-f", "history"}
	here, node := dial(t, serveURL(t, nil, args...)), serveURL(t, nil, args...)
	tell(t, here, `{"type":"join","room":"r"}`, `{"type":"joined","room":"r"}`)
	type message struct{ Type, ID, Position string }
	publish := func(id string) (at string) {
		require.NoError(t, here.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"publish","room":"r","id":"%s","data":"m%s"}`, id, id)))
		for {
			var m message
			require.NoError(t, here.ReadJSON(&m))
			if m.Type == "published" && m.ID == id {
				return m.Position
			}
		}
	}
	publish("1")
	at := publish("2")
	kill()
	_, port, _ := strings.Cut(address, ":")
	startRedisIn(t, port, dir, keep...)
	last := publish("3")
	back := dial(t, node)
	require.NoError(t, back.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"join","room":"r","position":"%s"}`, at)))
	until(t, back, `{"type":"joined","room":"r"}`)
	_, got, err := back.ReadMessage()
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"type":"message","room":"r","position":"%s","data":"m3"}`, last), string(got))
}

// B7, B10: a file has all of it.
func TestB10ConfigFile(t *testing.T) {
	address, _ := startRedis(t, "")
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{
		"port": "0",
		"filters": ["stdout_messages", "broadcast_pubsub"],
		"redis": "redis://%s",
		"redis_key": "chat",
		"redis_channels": ["global", "news"]
	}`, address), 0o600))
	ws := dial(t, serveURL(t, nil, "-c", file))
	require.Eventually(t, func() bool { return say(t, address, "global", "hello") == 1 }, patience, 5*time.Millisecond)
	until(t, ws, "hello")
	require.Equal(t, 1, say(t, address, "news", "extra"))
	until(t, ws, "extra")
	require.Equal(t, 1, say(t, address, "chat.serve.all", "junk"))
}

// With NATS it is JetStream that keeps histories.
func TestHistoryAcrossNodesOnNATS(t *testing.T) {
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	require.NoError(t, err)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.True(t, s.ReadyForConnections(patience))
	args := []string{"--nats", s.ClientURL(), "-f", "history"}
	here, there := dial(t, serveURL(t, nil, args...)), dial(t, serveURL(t, nil, args...))
	tell(t, here, `{"type":"join","room":"r"}`, `{"type":"joined","room":"r"}`)
	require.NoError(t, here.WriteMessage(websocket.TextMessage, []byte(`{"type":"publish","room":"r","data":1}`)))
	_, published, err := here.ReadMessage()
	require.NoError(t, err)
	tell(t, there, `{"type":"join","room":"r","position":"0-0"}`, `{"type":"joined","room":"r"}`)
	_, got, err := there.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, string(published), string(got))
}

// A filter that is named twice keeps two sets of rooms, which do not hear each other.
func TestFilterTwiceAcrossNodes(t *testing.T) {
	address, _ := startRedis(t, "")
	serveURL(t, nil, "--redis", "redis://"+address, "-f", "broadcast_messages_by_token", "broadcast_messages_by_token")
	require.Eventually(t, func() bool { return say(t, address, "penstock.tokens.all", "x") == 1 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return say(t, address, "penstock.tokens2.all", "x") == 1 }, patience, time.Millisecond)
}

// E6: workers feed the clients of all nodes, and whether there is one is known on all.
func TestE6WorkersAcrossNodes(t *testing.T) {
	t.Setenv("WORKER_SECRET", "s")
	a, b := twoNodes(t, "-f", "worker_relay")
	client := dial(t, b)
	tell(t, client, "get_worker_status", `{"type":"worker_status","online":false}`)
	worker := dial(t, a+"?client_type=worker&token=s")
	until(t, client, `{"type":"worker_status","online":true}`)
	crosses(t, worker, client, `{"a":1}`, `{"a":1}`)
	require.NoError(t, worker.Close())
	until(t, client, `{"type":"worker_status","online":false}`)
}

// B9: a session is on all nodes, under the key that was set, and outlasts them.
func TestB9SessionsInRedis(t *testing.T) {
	address, _ := startRedis(t, "")
	args := []string{"--redis", "redis://" + address, "--redis_key", "mine", "-f", "session"}
	hear := func(ws *websocket.Conn, ask string) (m struct {
		ID   string
		Data any
	}) {
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(ask)))
		require.NoError(t, ws.ReadJSON(&m))
		return m
	}
	id := hear(dial(t, serveURL(t, nil, args...)), `{"type":"session","data":"kept"}`).ID
	again := hear(dial(t, serveURL(t, nil, args...)+"?session="+id), `{"type":"session"}`)
	require.Equal(t, "kept", again.Data)
	require.Equal(t, id, again.ID)
	keys := raw(t, address, "KEYS mine:session:*")
	require.Equal(t, "*1", keys)
}

// What a program prints of its settings, or says of wrong ones, shows no password.
func TestBrokerURLIsSecret(t *testing.T) {
	var out strings.Builder
	cmd := NewCommand(Config{})
	cmd.SetArgs([]string{"--print-config", "--redis", "redis://user:canary@h"})
	cmd.SetOut(&out)
	require.NoError(t, cmd.Execute())
	require.Contains(t, out.String(), "(hidden)")
	require.NotContains(t, out.String(), "canary")
}
