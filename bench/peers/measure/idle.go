package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

const (
	// idleBase is how many connections are there before the count begins, so that what a
	// server takes once, with its first clients, is not shared out among the others.
	idleBase = 300

	// idleSettle is how long a server may take to give back what it will.
	idleSettle = 500 * time.Millisecond

	idleTimeout = 5 * time.Second // of one connection's handshake and message
)

// runIdle measures what connections that do nothing cost, and says what came out.
func (s *session) runIdle(ctx context.Context, round int, p *roster.Program) (said string, err error) {
	idle := Idle{Peer: p.Name, Round: round, Connections: s.idle}
	_, err = s.onServer(ctx, p, roster.Echo, func(t bench.Target) (*bench.Result, error) {
		return nil, idle.measure(ctx, t)
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		idle.Error = err.Error()
	}
	s.report.Idle = append(s.report.Idle, idle)
	return fmt.Sprintf("%.1f KiB/connection", idle.resident()/1024), err
}

// resident is the server's memory for a connection, in bytes.
func (i Idle) resident() float64 {
	return float64(i.ResidentAfter-i.ResidentBefore) / float64(i.Connections)
}

// slab is the kernel's, for both ends of a connection.
func (i Idle) slab() float64 { return float64(i.SlabAfter-i.SlabBefore) / float64(i.Connections) }

// measure reads the server's memory with few connections and with many.
func (i *Idle) measure(ctx context.Context, t bench.Target) (err error) {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	if conns, err = openIdle(ctx, conns, idleBase, t.URL); err != nil {
		return err
	}
	if i.ResidentBefore, i.SlabBefore, err = memory(ctx, t.PID); err != nil {
		return err
	}
	if conns, err = openIdle(ctx, conns, i.Connections, t.URL); err != nil {
		return err
	}
	i.ResidentAfter, i.SlabAfter, err = memory(ctx, t.PID)
	return err
}

// openIdle adds n connections, each of which has exchanged a message: memory
// that a server sets up with the first one counts.
func openIdle(ctx context.Context, conns []net.Conn, n int, url string) ([]net.Conn, error) {
	message := bytes.Repeat([]byte("idle"), 32)
	for range n {
		conn, err := dialIdle(ctx, url, message)
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func dialIdle(ctx context.Context, url string, message []byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, idleTimeout)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	if early != nil {
		conn.Close()
		return nil, errors.New("the server speaks first")
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// Closed by a reset: thousands of ports in TIME_WAIT would be the next server's.
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	if err = wsutil.WriteClientBinary(conn, message); err == nil {
		var reply []byte
		if reply, err = wsutil.ReadServerBinary(conn); err == nil && !bytes.Equal(reply, message) {
			err = fmt.Errorf("the reply is %q", reply)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// memory reads, once things have settled, what the process has resident and what the kernel
// holds in its slabs, both in bytes.
func memory(ctx context.Context, pid int) (resident, slab int64, err error) {
	select {
	case <-time.After(idleSettle):
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	if resident, err = kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:"); err != nil {
		return 0, 0, err
	}
	slab, err = kilobytes("/proc/meminfo", "Slab:")
	return resident, slab, err
}

// kilobytes reads a line such as "VmRSS:  1234 kB", in bytes.
func kilobytes(path, name string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if value, ok := strings.CutPrefix(scanner.Text(), name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line %s", path, name)
}
