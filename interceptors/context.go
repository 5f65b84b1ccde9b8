package interceptors

import (
	"context"
	"strconv"
	"time"
)

// Context is the context.Context of one run of a chain: it has an id, and
// metadata that every interceptor of the run, and the handler, can set and
// read. Find it with [FromContext]. Deadline, Done, Err and Value are the
// parent's.
//
// It belongs to the goroutine that runs the chain, and is valid until the chain
// returns; then the engine uses it again for the connection's next message. A
// context derived from it that outlives the run still has the parent's deadline
// and cancellation, but must not be asked for the id or the metadata. The zero
// value is a run without a parent (context.Background), with the id "0-0".
type Context struct {
	// Deadline, Done, Err and Value may be called by goroutines that a handler
	// left behind, at the same time as Again.
	parent context.Context

	// Owner: the goroutine that runs the chain.
	conn, seq uint64
	metadata  *metadata // nil until the first Set: every connection embeds a Context
}

type contextKey struct{}

// FromContext returns the [Context] of the run that ctx belongs to, however ctx
// was wrapped by context.WithTimeout and the like, the innermost if runs are
// nested (a handler that sends), or nil if there is none.
func FromContext(ctx context.Context) *Context {
	c, _ := ctx.Value(contextKey{}).(*Context)
	return c
}

// Reset starts the first run: the engine calls it. conn is the connection's
// number, unique in the process, and seq the run's, unique in the connection.
func (c *Context) Reset(parent context.Context, conn, seq uint64) {
	c.parent, c.conn = parent, conn
	c.Again(seq)
}

// Again starts another run, with the parent of the one before: it is not written, as
// contexts derived from an earlier run may still be reading it. Metadata is dropped; the
// memory of up to 8 keys is kept.
func (c *Context) Again(seq uint64) {
	c.seq = seq
	if c.metadata != nil {
		c.metadata.reset()
	}
}

// ChainID returns the id of the run, "conn-seq": unique in the process. It is
// built on demand, which allocates.
func (c *Context) ChainID() string {
	id := make([]byte, 0, 41) // two uint64 and a hyphen
	id = strconv.AppendUint(id, c.conn, 10)
	id = append(id, '-')
	return string(strconv.AppendUint(id, c.seq, 10))
}

// Set stores value under key for the rest of the run, where every interceptor
// of it and the handler can [Context.Get] it, those before this one too (unlike
// an attribute of a message).
func (c *Context) Set(key string, value any) {
	if c.metadata == nil {
		c.metadata = new(metadata)
	}
	c.metadata.set(key, value)
}

// Get returns what was last [Context.Set] under key in this run, and whether anything was.
func (c *Context) Get(key string) (any, bool) {
	if c.metadata == nil {
		return nil, false
	}
	return c.metadata.get(key)
}

// Deadline is the parent's.
func (c *Context) Deadline() (time.Time, bool) { return c.base().Deadline() }

// Done is the parent's.
func (c *Context) Done() <-chan struct{} { return c.base().Done() }

// Err is the parent's.
func (c *Context) Err() error { return c.base().Err() }

// Value is the parent's, but for the key of [FromContext]. It does not look at the metadata.
func (c *Context) Value(key any) any {
	if _, ours := key.(contextKey); ours {
		return c
	}
	return c.base().Value(key)
}

func (c *Context) base() context.Context {
	if c.parent == nil {
		return context.Background()
	}
	return c.parent
}
