package interceptors

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// DumpConfig configures [Dump]. Its zero value writes to standard error.
type DumpConfig struct {
	// Writer is where lines go, each in one call of Write, one at a time: a slow writer
	// holds up every connection. Default: os.Stderr.
	Writer io.Writer

	// MaxBytes is how much of a payload is shown. Default 256; negative: nothing. What
	// is left out is counted. To switch off, leave the interceptor out.
	MaxBytes int
}

// Dump returns an interceptor that WRITES WHAT PEOPLE SAY, PASSWORDS AND TOKENS
// AMONG IT, to a file or a terminal. It is for debugging on a machine of your own, never
// for production: there use [Logging], which tells sizes.
//
// It writes a line for each message and control event in each direction, before it
// goes on:
//
//	15:04:05.000000 12-3 <- text 5 "hello"
//	15:04:05.000100 12-1 -> binary 1024 00ff10… (768 more)
//	15:04:06.000000 12-0 <- close 1001 "bye"
//
// with the time, the id of the run ("-" if there is none), the direction (<- is
// inbound), the type, the bytes of payload, and the payload: text quoted as in Go,
// everything else in hexadecimal. A second line tells an error that comes back.
//
// It sees everything, so broadcasts are encoded for each connection while it is there.
func Dump(config DumpConfig) Interceptor {
	if config.Writer == nil {
		config.Writer = os.Stderr
	}
	switch {
	case config.MaxBytes == 0:
		config.MaxBytes = 256
	case config.MaxBytes < 0:
		config.MaxBytes = 0
	}
	return &dump{w: config.Writer, most: config.MaxBytes}
}

type dump struct {
	Passthrough
	most int

	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (d *dump) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	d.event(ctx, " <- ", in.Type, in.Data, in.CloseCode, in.CloseReason)
	err := next.Run(ctx, in)
	d.failed(ctx, " <- ", in.Type, err)
	return err
}

func (d *dump) InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) error {
	d.event(ctx, " -> ", out.Type, out.Data, out.CloseCode, out.CloseReason)
	err := next.Run(ctx, out)
	d.failed(ctx, " -> ", out.Type, err)
	return err
}

func (d *dump) event(ctx context.Context, arrow string, op frame.Opcode, data []byte, code frame.CloseCode, reason string) {
	line := begin(ctx, arrow, op)
	if op == frame.Close {
		line = strconv.AppendUint(append(line, ' '), uint64(code), 10)
		line = strconv.AppendQuote(append(line, ' '), reason)
		d.write(line)
		return
	}
	line = strconv.AppendInt(append(line, ' '), int64(len(data)), 10)
	shown := data[:min(len(data), d.most)]
	switch {
	case len(shown) == 0:
	case op == frame.Text:
		line = strconv.AppendQuote(append(line, ' '), string(shown))
	default:
		line = hex.AppendEncode(append(line, ' '), shown)
	}
	if more := len(data) - len(shown); more > 0 {
		line = fmt.Appendf(line, "… (%d more)", more)
	}
	d.write(line)
}

func (d *dump) failed(ctx context.Context, arrow string, op frame.Opcode, err error) {
	if err != nil {
		d.write(strconv.AppendQuote(append(begin(ctx, arrow, op), " error "...), err.Error()))
	}
}

func begin(ctx context.Context, arrow string, op frame.Opcode) []byte {
	id := "-"
	if run := FromContext(ctx); run != nil {
		id = run.ChainID()
	}
	line := time.Now().AppendFormat(make([]byte, 0, 128), "15:04:05.000000 ")
	line = append(line, id...)
	return append(append(line, arrow...), op.String()...)
}

func (d *dump) write(line []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = d.w.Write(append(line, '\n'))
}
