package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Idle is the scenario of connections that do nothing any more, after one message each:
// what one costs the server in memory. It needs an echo server, its process number, and a /proc.
//
// The zero value is the default of each field.
type Idle struct {
	// Connections is how many are opened; the first tenth does not count. 0: 5000. At
	// least 10, at most MaxConnections.
	Connections int

	// Settle is how long after the last message memory is read, so that what the
	// handshakes took can be given back. 0: 2 s.
	Settle time.Duration
}

// Memory is what idle connections take, in bytes for each.
type Memory struct {
	// User is the growth of the server's resident memory.
	User float64 `json:"user_bytes_per_connection"`

	// Kernel is the growth of the kernel's slabs and socket buffers on this machine,
	// which holds both ends of each connection; 0 if that is not known. Anything else
	// that runs here counts in, too.
	Kernel float64 `json:"kernel_bytes_per_connection"`
}

// Run carries out the scenario; see Echo.Run. Messages in the Result are the
// connections that were opened.
func (i Idle) Run(ctx context.Context, t Target, watch func(Progress)) (*Result, error) {
	if err := i.Validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(t.URL)
	if err != nil {
		return nil, err
	}
	i = i.withDefaults()
	s := newSession("idle", plan{timing: timing{duration: i.Settle}}, t)
	s.told = map[string]any{"connections": i.Connections, "settle": i.Settle.String()}
	if residentMemory(t.PID) == 0 {
		return nil, errors.New("bench: the memory of the server cannot be read: idle needs a server process on this machine, and a /proc")
	}
	s.open()
	conns, before, err := i.open(ctx, s, dialer{address: address})
	defer abandon(conns)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	w := watcher{s, watch, s.now()}
	if ctx.Err() == nil {
		w.wait(ctx, nil, i.Settle)
	}
	s.after = s.sample()
	s.samples = append(s.samples, s.after)
	r := s.result(ctx.Err() != nil)
	r.Name = fmt.Sprintf("idle: %d connections", i.Connections)
	r.Messages, r.MessagesPerSecond = int64(len(conns)), 0
	r.ServerCPU, r.ClientCPU = nil, nil // nothing is sent while memory is read
	if n := float64(len(conns) - before.connections); n > 0 && !r.Partial {
		r.Memory = &Memory{User: float64(s.after.memory-before.user) / n}
		if now, ok := kernelMemory(); ok {
			r.Memory.Kernel = float64(now-before.kernel) / n
		}
	}
	return r, nil
}

// memoryBefore is what was in use when the first connections were there.
type memoryBefore struct {
	connections  int
	user, kernel int64
}

// open opens the connections: some before memory is read, so that what a server takes
// once, with its first clients, is not shared out among the others; then the rest.
func (i Idle) open(ctx context.Context, s *session, how dialer) (conns []*dialed, before memoryBefore, err error) {
	before.connections = i.Connections / 10
	for _, n := range []int{before.connections, i.Connections - before.connections} {
		more, err := dialAll(ctx, n, how)
		conns = append(conns, more...)
		if err == nil {
			err = exchangeAll(ctx, more)
		}
		if err != nil {
			return conns, before, err
		}
		if before.user == 0 {
			watcher{s, nil, s.now()}.wait(ctx, nil, i.Settle)
			before.user = residentMemory(s.target.PID)
			before.kernel, _ = kernelMemory()
		}
	}
	return conns, before, nil
}

// exchangeAll has each connection's message echoed, so that what a server sets up for
// the first one counts.
func exchangeAll(ctx context.Context, conns []*dialed) error {
	g := Group{}.withDefaults()
	pattern, rules := g.pattern(), g.rules()
	quiet := newRecorder(newWindow(), time.Hour, 0)
	for _, d := range conns {
		stop := context.AfterFunc(ctx, func() { d.conn.SetDeadline(time.Unix(1, 0)) })
		_ = d.conn.SetDeadline(time.Now().Add(handshakeTimeout))
		f := newFlow(newSource(g, 1, pattern), true, rules)
		f.refill(0)
		fail := f.exchange(d, quiet, func() bool { return f.done == 1 })
		stop()
		if fail != nil {
			return fmt.Errorf("connection %d: %s", d.id, fail.text)
		}
	}
	return nil
}

// abandon resets connections: thousands of ports in TIME_WAIT would be the next run's.
func abandon(conns []*dialed) {
	for _, d := range conns {
		if tcp, ok := d.conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		d.conn.Close()
	}
}

// Validate returns every mistake in i, joined; each is a *ConfigError.
func (i Idle) Validate() error {
	i = i.withDefaults()
	return errors.Join(
		inRange("Connections", i.Connections, 10, MaxConnections),
		inRange("Settle", i.Settle, time.Millisecond, MaxDuration),
	)
}

func (i Idle) withDefaults() Idle {
	setDefault(&i.Connections, 5000)
	setDefault(&i.Settle, 2*time.Second)
	return i
}

// kernelMemory is what the kernel's slabs and TCP's buffers take on this machine, in
// bytes, where there is a /proc that tells.
func kernelMemory() (n int64, ok bool) {
	slab, ok := procValue("/proc/meminfo", "Slab:")
	if !ok {
		return 0, false
	}
	n = slab << 10
	text, _ := os.ReadFile("/proc/net/sockstat")
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "TCP:"); found {
			fields := strings.Fields(rest)
			for i := 0; i+1 < len(fields); i += 2 {
				if pages, err := strconv.ParseInt(fields[i+1], 10, 64); err == nil && fields[i] == "mem" {
					n += pages * int64(os.Getpagesize())
				}
			}
		}
	}
	return n, true
}

// procValue returns the number in the line of a file that begins with name.
func procValue(file, name string) (int64, bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
