package interceptors

import "github.com/penstock-ws/penstock/frame"

// Kinds is a set of kinds of messages and control events, by direction and type:
// those that an interceptor is to see. What it does not see passes it by at no cost;
// and an outbound message that no interceptor sees can be encoded once for all
// receivers of a broadcast.
type Kinds uint16

// The kinds. What an interceptor makes of a message's type does not matter: it is
// the type with which the message enters the chain that counts.
const (
	InboundText Kinds = 1 << iota
	InboundBinary
	InboundClose
	InboundPing
	InboundPong
	OutboundText
	OutboundBinary
	OutboundClose
	OutboundPing
	OutboundPong

	InboundData  = InboundText | InboundBinary
	OutboundData = OutboundText | OutboundBinary
	Inbounds     = InboundData | InboundClose | InboundPing | InboundPong
	Outbounds    = OutboundData | OutboundClose | OutboundPing | OutboundPong
)

// SeesInbound reports whether inbound messages of type op are in the set. A type
// that does not exist is in every set with something inbound.
func (k Kinds) SeesInbound(op frame.Opcode) bool { return k&Inbounds>>inboundShift&byType(op) != 0 }

// SeesOutbound is SeesInbound for the other direction.
func (k Kinds) SeesOutbound(op frame.Opcode) bool { return k&Outbounds>>outboundShift&byType(op) != 0 }

const (
	inboundShift  = 0
	outboundShift = 5
)

// byType returns the kinds of a type as those of InboundText to InboundPong.
func byType(op frame.Opcode) Kinds {
	switch op {
	case frame.Text:
		return InboundText
	case frame.Binary:
		return InboundBinary
	case frame.Close:
		return InboundClose
	case frame.Ping:
		return InboundPing
	case frame.Pong:
		return InboundPong
	}
	return Inbounds
}

// Only returns i for messages of the given kinds alone. It asks i's Admit
// whatever they are.
func Only(kinds Kinds, i Interceptor) Interceptor {
	return limited{Interceptor: i, set: kinds & kindsOf(i)}
}

type limited struct {
	Interceptor
	set Kinds
}

func (l limited) kinds() Kinds { return l.set }

// bare returns what Only was given: once it is in a chain, a call through the wrapper
// would copy every message once more.
func bare(i Interceptor) Interceptor {
	for {
		l, ok := i.(limited)
		if !ok {
			return i
		}
		i = l.Interceptor
	}
}

// kindsOf asks what only this package's types can answer. One that is embedded in a
// foreign wrapper does not, which costs time and changes nothing else.
func kindsOf(i Interceptor) Kinds {
	if l, ok := i.(interface{ kinds() Kinds }); ok {
		return l.kinds()
	}
	return Inbounds | Outbounds
}
