package deflate

import (
	"strconv"
	"strings"
)

// Params is what both sides have agreed on. That neither takes over context
// (RFC 7692 §7.1.1) always belongs to it.
type Params struct {
	// ServerBits is the LZ77 window of what the server sends, as a power of
	// two: 8 to 15 (RFC 7692 §7.1.2.1).
	ServerBits int

	// ClientBits is the window of what the client sends, 8 to 15; 15 unless the
	// server has limited it (RFC 7692 §7.1.2.2), which Negotiate never does.
	ClientBits int
}

// The limits of a window's exponent (RFC 7692 §7.1.2).
const (
	MinBits = 8
	MaxBits = 15
)

// Names of RFC 7692 §7. Names are compared without regard to case, as RFC 2616
// §2.1 has it for the words of a grammar; neither WebSocket RFC says otherwise.
const (
	extensionName    = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverMaxBits    = "server_max_window_bits"
	clientMaxBits    = "client_max_window_bits"
)

// Negotiate is the server's side. It goes through all lines of a request's
// Sec-WebSocket-Extensions in order of preference and accepts the first offer
// of permessage-deflate whose parameters are all known, valid and not repeated;
// the others are declined one by one (RFC 7692 §7.1). ok tells whether there
// was one; answer is then the response's Sec-WebSocket-Extensions.
//
// The answer holds both no_context_takeover parameters, offered or not
// (§7.1.1.1, §7.1.1.2), and server_max_window_bits with the value asked for,
// never unasked. It leaves client_max_window_bits out: Inflate reads every
// window, so there is no reason to limit the client; a value in its offer is a
// hint about itself (§7.1.2.2).
//
// err is a *SyntaxError: the handshake must be refused with status 400.
func Negotiate(lines []string) (p Params, answer string, ok bool, err error) {
	offers, err := parseExtensions(lines)
	if err != nil {
		return Params{}, "", false, err
	}
	for _, offer := range offers {
		if !strings.EqualFold(offer.name, extensionName) {
			continue
		}
		if asked, problem := readParameters(offer.params, true); problem == "" {
			p, answer = accept(asked)
			return p, answer, true, nil
		}
	}
	return Params{}, "", false, nil
}

func accept(asked parameters) (Params, string) {
	answer := extensionName + "; " + serverNoTakeover + "; " + clientNoTakeover
	p := Params{ServerBits: MaxBits, ClientBits: MaxBits}
	if asked.serverBits != 0 {
		p.ServerBits = asked.serverBits
		answer += "; " + serverMaxBits + "=" + strconv.Itoa(p.ServerBits)
	}
	return p, answer
}

// parameters are those of one offer or answer. Bits are 0 where they are absent
// or have no value.
type parameters struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int
}

// readParameters checks each parameter by RFC 7692 §7.1. client_max_window_bits
// may lack its value in an offer, not in an answer (§7.1.2.2). problem is "" if
// all is well.
func readParameters(all []param, offer bool) (ps parameters, problem string) {
	seen := make(map[string]bool, 4)
	for _, one := range all {
		name := strings.ToLower(one.name)
		if seen[name] {
			return parameters{}, "repeated parameter " + name
		}
		seen[name] = true
		valid := false
		switch name {
		case serverNoTakeover:
			ps.serverNoTakeover, valid = true, !one.hasValue
		case clientNoTakeover:
			ps.clientNoTakeover, valid = true, !one.hasValue
		case serverMaxBits:
			ps.serverBits, valid = windowBits(one.value)
		case clientMaxBits:
			ps.clientBits, valid = windowBits(one.value)
			valid = valid || offer && !one.hasValue
		default:
			return parameters{}, "unknown parameter " + name
		}
		if !valid {
			return parameters{}, "invalid value of " + name
		}
	}
	return ps, ""
}

// windowBits reads "8" to "15": no sign, no leading zero (RFC 7692 §7.1.2).
func windowBits(s string) (int, bool) {
	for bits := MinBits; bits <= MaxBits; bits++ {
		if s == strconv.Itoa(bits) {
			return bits, true
		}
	}
	return 0, false
}
