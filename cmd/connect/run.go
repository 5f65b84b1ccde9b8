package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/penstock-ws/penstock/engine"
)

// A client is one run of the command.
type client struct {
	settings
	target         string
	stdin          io.Reader
	stdout, stderr io.Writer

	editor *editor // nil unless a person types, and sees what comes
	print  *printer
}

// passwordVariable has the password of --auth.
const passwordVariable = "WS_PASSWORD"

// run connects, and ends with the connection, or by signals, ctx's end being the first
// of them.
func run(ctx context.Context, c client) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.whole && asTerminal(c.stdin) != nil {
		return usagef("--whole: allowed is it where standard input is a file or a pipe")
	}
	password, err := c.password()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	broken := make(chan os.Signal, 1) // without it a broken pipe would end the process before the closing handshake
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	if err := c.prepare(func() { signals <- os.Interrupt }); err != nil {
		return err
	}
	defer c.leave()
	return untilSignal(ctx, signals, func(ctx context.Context) error { return c.talk(ctx, password) })
}

// untilSignal calls talk with a context that ends with the first signal, and does not
// wait for it after the second: it goes on alone until the process ends, or until its
// own timeouts.
func untilSignal(ctx context.Context, signals <-chan os.Signal, talk func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- talk(ctx) }() // ends soon after ctx, unless output is blocked
	select {
	case err := <-done:
		return err
	case first := <-signals:
		cancel(&SignalError{first})
	}
	select {
	case err := <-done:
		return err
	case second := <-signals:
		return &SignalError{second}
	}
}

// password returns that of --auth.
func (c *client) password() (string, error) {
	if c.user == "" {
		return "", nil
	}
	if password, set := os.LookupEnv(passwordVariable); set {
		return password, nil
	}
	in := asTerminal(c.stdin)
	if in == nil {
		return "", usagef("--auth: the password is to be in %s where standard input is no terminal", passwordVariable)
	}
	_, _ = fmt.Fprintf(c.stderr, "password of %s: ", c.user)
	password, err := term.ReadPassword(int(in.Fd()))
	_, _ = fmt.Fprintln(c.stderr)
	return string(password), err
}

// prepare finds out who reads and writes here. After it leave is to be called.
func (c *client) prepare(interrupt func()) error {
	in, out := asTerminal(c.stdin), asTerminal(c.stdout)
	c.print = &printer{
		json: c.json, raw: c.raw, terminal: out != nil, talks: in != nil || c.verbose,
		out: c.stdout, notes: c.stderr,
	}
	if in == nil || out == nil {
		return nil
	}
	e, err := newEditor(in, out, interrupt)
	if err != nil {
		return err
	}
	c.editor, c.print.out = e, e
	if asTerminal(c.stderr) != nil {
		c.print.notes = e
	}
	return nil
}

func (c *client) leave() {
	if c.editor != nil {
		c.editor.leave()
		c.editor.restore()
	}
}

// talk connects and stays until the end.
func (c *client) talk(ctx context.Context, password string) error {
	e, err := engine.New(c.engineConfig(), engine.Endpoint{})
	if err != nil {
		return &UsageError{err}
	}
	defer func() { _ = e.Shutdown(context.WithoutCancel(ctx)) }() // connections have ended
	s := newSession(c)
	cfg := c.dialConfig(password)
	cfg.Engine = e
	s.fill(&cfg.Endpoint)
	open := c.dial
	if c.reconnect {
		open = c.keepDialling
	}
	if err := open(ctx, s, cfg); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	return s.run(ctx, c.startInput(done))
}

// dial connects s.
func (c *client) dial(ctx context.Context, s *session, cfg engine.DialConfig) error {
	tried := c.route.use(&cfg)
	conn, err := engine.Dial(ctx, c.target, cfg)
	switch {
	case err == nil:
		s.link = single{conn}
		s.opened(conn)
		return nil
	case ctx.Err() != nil:
		return stopped(ctx)
	}
	return noConnection(err, *tried)
}

// noConnection is why there is none. What Dial refuses before it has tried is wrong usage.
func noConnection(err error, tried bool) error {
	if !tried {
		return usagef("%s", withoutPrefix(err))
	}
	return &ConnectError{err}
}

// stopped is why ctx has ended; nil: it has not.
func stopped(ctx context.Context) error {
	var ended *SignalError
	if errors.As(context.Cause(ctx), &ended) {
		return ended
	}
	return ctx.Err()
}

func (c *client) startInput(done <-chan struct{}) input {
	typed := asTerminal(c.stdin) != nil
	switch {
	case c.editor != nil:
		return startInput(typed, done, c.editor.readLines)
	case c.whole:
		return startInput(typed, done, func(yield func([]byte) bool) error {
			return readWhole(c.stdin, c.maxMessageBytes, yield)
		})
	}
	return startInput(typed, done, func(yield func([]byte) bool) error {
		return readLines(c.stdin, c.maxMessageBytes, !c.binary, yield)
	})
}

// patience is how long the input may end after the messages that are to be counted; see
// settings.wait.
func (c *client) patience() time.Duration {
	if c.wait == 0 && c.count > 0 {
		return -1
	}
	return c.wait
}

// asTerminal returns a stream as a file if it is a terminal, else nil.
func asTerminal(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
