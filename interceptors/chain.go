package interceptors

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/penstock-ws/penstock/frame"
)

// Chain is an ordered list of interceptors. It is immutable, any goroutine may
// use it, and its zero value is the empty chain.
type Chain struct {
	list []Interceptor
}

// NewChain returns the chain of list, whose first element is the first to see
// an inbound message and the last to see an outbound one. It panics if an
// element is nil.
func NewChain(list ...Interceptor) Chain { return Chain{}.Append(list...) }

// Append returns a new chain: c's interceptors, then list (an engine's chain,
// then an endpoint's). c is unchanged. It panics if an element is nil.
func (c Chain) Append(list ...Interceptor) Chain {
	for position, i := range list {
		if i == nil {
			panic(fmt.Sprintf("interceptors: interceptor %d of %d (counted from 0) is nil: leave it out, or use Passthrough{}",
				position, len(list)))
		}
	}
	return Chain{list: slices.Concat(c.list, list)}
}

// Len returns the number of interceptors.
func (c Chain) Len() int { return len(c.list) }

// Kinds returns what any of the interceptors sees.
func (c Chain) Kinds() (all Kinds) {
	for _, i := range c.list {
		all |= kindsOf(i)
	}
	return all
}

// Timed reports whether one of those that see inbound text or binary messages is [Timed].
func (c Chain) Timed() bool {
	return slices.ContainsFunc(c.list, func(i Interceptor) bool {
		_, timed := bare(i).(interface{ timed() })
		return timed && kindsOf(i)&InboundData != 0
	})
}

// Admit asks the interceptors in the order of registration, and returns the first
// error.
func (c Chain) Admit(r *http.Request) error {
	for _, i := range c.list {
		if err := i.Admit(r); err != nil {
			return err
		}
	}
	return nil
}

// Inbound returns the function that runs an inbound message through those of the
// interceptors that see its kind, in the order of registration, and then final.
// Composing happens here, once: call it when an endpoint is set up, not per
// message. Running the result allocates nothing. It panics if final is nil.
func (c Chain) Inbound(final InboundFunc) InboundFunc {
	if final == nil {
		panic("interceptors: an inbound chain needs a final function: the handler of the message")
	}
	end := &inboundEnd{final: final}
	var byType [lastOpcode + 1]*InboundNext
	for op := range byType {
		byType[op] = c.InboundFor(frame.Opcode(op), end)
	}
	return func(ctx context.Context, in Inbound) error {
		in.Data = slices.Clip(in.Data)
		return byType[in.Type&lastOpcode].Run(ctx, in)
	}
}

const lastOpcode = 0xf

// InboundFor is [Chain.Inbound] for messages of one type only, whose Data has no spare
// capacity: an append must not reach into it. The chain ends with end, which must not call its
// next, for there is none; that it is called as the others are costs less than a function.
func (c Chain) InboundFor(op frame.Opcode, end Interceptor) *InboundNext {
	checkEnd(end)
	head := &InboundNext{step: end}
	for _, i := range slices.Backward(c.list) {
		if kindsOf(i).SeesInbound(op) {
			head = &InboundNext{step: bare(i), next: head}
		}
	}
	return head
}

// Outbound returns the function that runs an outbound message through those of the
// interceptors that see its kind, in the reverse of the order of registration, and
// then final. The rest is as with [Chain.Inbound].
func (c Chain) Outbound(final OutboundFunc) OutboundFunc {
	if final == nil {
		panic("interceptors: an outbound chain needs a final function: the sending of the message")
	}
	end := &outboundEnd{final: final}
	var byType [lastOpcode + 1]*OutboundNext
	for op := range byType {
		byType[op] = c.OutboundFor(frame.Opcode(op), end)
	}
	return func(ctx context.Context, out Outbound) error {
		out.Data = slices.Clip(out.Data)
		return byType[out.Type&lastOpcode].Run(ctx, out)
	}
}

// OutboundFor is [Chain.Outbound] for messages of one type only, and with an end, as with
// [Chain.InboundFor].
func (c Chain) OutboundFor(op frame.Opcode, end Interceptor) *OutboundNext {
	checkEnd(end)
	head := &OutboundNext{step: end}
	for _, i := range c.list {
		if kindsOf(i).SeesOutbound(op) {
			head = &OutboundNext{step: bare(i), next: head}
		}
	}
	return head
}

func checkEnd(end Interceptor) {
	if end == nil {
		panic("interceptors: a chain needs an end: an interceptor that hands the message on")
	}
}
