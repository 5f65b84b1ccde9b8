package deflate

import (
	"fmt"
	"strings"
)

// Offer is the Sec-WebSocket-Extensions that a client sends. It asks for no
// takeover on both sides, and lets the server limit the client's window
// (RFC 7692 §7.1.2.2), which AppendMessage can honour.
const Offer = extensionName + "; " + serverNoTakeover + "; " + clientNoTakeover + "; " + clientMaxBits

// Accept is the client's side: it checks all lines of the response's
// Sec-WebSocket-Extensions against Offer. ok tells whether the server has
// accepted; it has declined when the header is absent or empty.
//
// err means that the client must fail the connection: a *SyntaxError, or
// ErrAnswer for an extension that was not offered or comes twice (RFC 6455
// §4.1), a header on several lines (§11.3.2), a parameter that is unknown,
// repeated or invalid (RFC 7692 §7.1), and for a server that would take over
// context, though asked not to (§7.1.1.1). That client_no_context_takeover is
// missing is no error: the client may refrain from it unasked (§7.1.1.2).
func Accept(lines []string) (p Params, ok bool, err error) {
	answers, err := parseExtensions(lines)
	switch {
	case err != nil:
		return Params{}, false, err
	case len(lines) > 1:
		return Params{}, false, refuse("several header lines")
	case len(answers) == 0:
		return Params{}, false, nil
	case len(answers) > 1:
		return Params{}, false, refuse("several extensions")
	case !strings.EqualFold(answers[0].name, extensionName):
		return Params{}, false, refuse("extension not offered: " + answers[0].name)
	}
	agreed, problem := readParameters(answers[0].params, false)
	switch {
	case problem != "":
		return Params{}, false, refuse(problem)
	case !agreed.serverNoTakeover:
		return Params{}, false, refuse("no " + serverNoTakeover)
	}
	return Params{ServerBits: orMax(agreed.serverBits), ClientBits: orMax(agreed.clientBits)}, true, nil
}

func refuse(why string) error { return fmt.Errorf("%w: %s", ErrAnswer, why) }

func orMax(bits int) int {
	if bits == 0 {
		return MaxBits
	}
	return bits
}
