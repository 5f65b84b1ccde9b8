package filters

import (
	"context"
	"fmt"
	"io"
	"sync"
	"unicode"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A printer writes lines, each in one piece.
type printer struct {
	mu sync.Mutex
	to io.Writer
}

func (p *printer) printf(format string, args ...any) {
	line := fmt.Appendf(nil, format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.to.Write(line) // nobody is there to be told
}

// StdoutMessages prints every message on a line of its own to Env.Stdout: text as it
// is, binary messages and text that would not stay on one line, or would control a
// terminal, quoted as a Go string. Nothing else happens to the message.
func StdoutMessages(env Env) (Filter, error) {
	out := &printer{to: env.Stdout}
	return Filter{Handler: engine.Handler{OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
		if m.Type == frame.Text && printable(m.Data) {
			out.printf("%s\n", m.Data)
		} else {
			out.printf("%q\n", m.Data)
		}
		return nil
	}}}, nil
}

func printable(text []byte) bool {
	for _, r := range string(text) {
		if r != '\t' && !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// StdoutRawData prints what is read from the sockets, as it comes, to Env.Stdout: the
// connection's number, how many bytes, and the bytes in hexadecimal. These are frames,
// masked by the client: for debugging a client's protocol.
func StdoutRawData(env Env) (Filter, error) {
	out := &printer{to: env.Stdout}
	return Filter{Handler: engine.Handler{OnData: func(c *engine.Conn, b []byte) {
		out.printf("%d: %d bytes: %x\n", c.ID(), len(b), b)
	}}}, nil
}
