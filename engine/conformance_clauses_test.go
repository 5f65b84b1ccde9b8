package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A confClause is a rule that shows in what a server does. Its key begins with the
// RFC and the section, for go test -run 'Conformance/6455-5.4'.
type confClause struct {
	key, says string
}

func (c confClause) section() string {
	part := strings.SplitN(c.key, "-", 3)
	return "RFC " + part[0] + " §" + part[1]
}

// confClauses is complete for RFC 6455 §5 to §7 and RFC 7692 §5 to §8. Of others
// it has what those refer to.
var confClauses = []confClause{
	{"6455-5.1-unmasked", "ends the connection at a frame that is not masked"},
	{"6455-5.1-sent", "does not mask what it sends"},
	{"6455-5.2-fin", "knows a message's last frame by FIN"},
	{"6455-5.2-rsv", "ends it at reserved bits that nothing has defined"},
	{"6455-5.2-opcode", "ends it at unknown opcodes"},
	{"6455-5.2-length", "reads lengths of 7, 16 and 64 bits"},
	{"6455-5.2-minimal", "refuses lengths in more bytes than they need"},
	{"6455-5.2-topbit", "refuses lengths from 2^63"},
	{"6455-5.2-sent", "sends lengths in as few bytes as they need"},
	{"6455-5.3-masks", "unmasks, with any key, beginning anew in each frame"},
	{"6455-5.4-fragments", "joins the fragments of a message"},
	{"6455-5.4-controls", "takes and answers control frames between fragments"},
	{"6455-5.4-order", "refuses fragments without a message, and messages mixed"},
	{"6455-5.4-sent", "sends fragments in order, not mixed"},
	{"6455-5.5-size", "refuses control frames over 125 bytes"},
	{"6455-5.5-whole", "refuses control frames in fragments"},
	{"6455-5.5.1-body", "wants a code of two bytes and UTF-8 in a close frame"},
	{"6455-5.5.1-reply", "answers a close frame with one, and its code"},
	{"6455-5.5.1-last", "sends nothing after its close frame"},
	{"6455-5.5.1-ignores", "does nothing about what follows a close frame"},
	{"6455-5.5.2-ping", "answers pings, the latest at least"},
	{"6455-5.5.2-sent", "sends pings that are control frames"},
	{"6455-5.5.3-pong", "returns a ping's payload as it came"},
	{"6455-5.5.3-unsolicited", "does not answer pongs that it has not asked for"},
	{"6455-5.6-text", "takes text whose runes are cut by fragments"},
	{"6455-5.6-binary", "takes any bytes as binary"},
	{"6455-5.7-examples", "understands the RFC's examples, and sends like them"},
	{"6455-6.1-sent", "sends a message with its opcode, whole and in order"},
	{"6455-6.2-received", "takes messages however the stream is cut"},
	{"6455-7.1.1-eof", "closes TCP first, without a reset"},
	{"6455-7.1.2-start", "begins the closing handshake with a close frame"},
	{"6455-7.1.5-first", "goes by the first close frame"},
	{"6455-7.1.6-reason", "sends reasons that fit, cut between runes"},
	{"6455-7.1.7-fails", "handles nothing after it has failed the connection"},
	{"6455-7.2.1-lost", "ends its side when the client is gone without a close"},
	{"6455-7.4.1-defined", "takes the codes that are defined"},
	{"6455-7.4.1-reserved", "refuses 1004, 1005, 1006 and 1015 in a close frame"},
	{"6455-7.4.2-open", "takes 3000 to 4999"},
	{"6455-7.4.2-refused", "refuses codes that nobody may use"},
	{"6455-8.1-utf8", "refuses text that is not UTF-8, with 1007"},
	{"6455-8.1-early", "does so as soon as it shows (not demanded)"},
	{"6455-9.1-grammar", "refuses a malformed Sec-WebSocket-Extensions"},
	{"6455-9.1-unasked", "agrees on no extension that was not offered"},
	{"6455-10.4-limit", "holds to its limit for messages, with 1009"},
	{"7692-5-offers", "takes the first offer that it can accept"},
	{"7692-6-rsv1", "refuses RSV1 on control frames and later fragments"},
	{"7692-6-unasked", "refuses RSV1 where no compression has been agreed on"},
	{"7692-6.1-sent", "sets RSV1 on the first frame of what it compresses only"},
	{"7692-6.2-fragments", "inflates what its fragments hold together"},
	{"7692-6.2-mixed", "takes messages that are not compressed"},
	{"7692-7.1-declines", "declines parameters unknown, repeated or invalid"},
	{"7692-7.1.1.1-server_takeover", "grants server_no_context_takeover, and keeps it"},
	{"7692-7.1.1.2-client_takeover", "takes client_no_context_takeover"},
	{"7692-7.1.2.1-server_bits", "grants server_max_window_bits, and keeps it"},
	{"7692-7.1.2.2-client_bits", "limits the client's window only if that may be"},
	{"7692-7.2.1-sent", "compresses to whole blocks without the tail"},
	{"7692-7.2.2-blocks", "inflates any DEFLATE blocks"},
	{"7692-7.2.2-corrupt", "refuses what is no compressed message, with 1007"},
	{"7692-7.2.2-utf8", "wants inflated text to be UTF-8"},
	{"7692-7.2.3-examples", "understands the RFC's examples"},
	{"7692-8-limit", "holds to its limit for inflated messages, with 1009"},
}

// confUntestable are the rules between those that do not show from outside, and why.
var confUntestable = []struct{ section, rule, why string }{
	{"RFC 6455 §5.1", "a client masks, and refuses masked frames", "binds the client"},
	{"RFC 6455 §5.2", "extension data", "no extension with any is defined"},
	{"RFC 6455 §5.3", "keys come from a strong source and cannot be predicted", "binds the client"},
	{"RFC 6455 §5.4", "what intermediaries may do to fragments", "binds intermediaries"},
	{"RFC 6455 §5.5.1", "an application need not wait to answer a close frame", "a permission"},
	{"RFC 6455 §5.5.3", "only the latest ping needs an answer", "a permission; the suite grants it"},
	{"RFC 6455 §5.8", "what extensions may use", "a permission to those that define them"},
	{"RFC 6455 §6.1", "nothing is sent unless the state is open", "the client sees the state it has made; after the close: §5.5.1"},
	{"RFC 6455 §7.1.1", "a client waits for the server to close TCP", "binds the client"},
	{"RFC 6455 §7.1.3, §7.1.4", "states of the closing handshake", "names; what they do is under §5.5.1 and §7.1.1"},
	{"RFC 6455 §7.2.2", "a server aborts as §7.1.7 says", "there"},
	{"RFC 6455 §7.2.3", "reconnecting with delays", "binds the client"},
	{"RFC 6455 §7.3", "when to close", "up to the application"},
	{"RFC 7692 §4", "complementary terminology", "names"},
	{"RFC 7692 §5", "what makes an offer, and how answers are checked", "binds the client"},
	{"RFC 7692 §5.2, §5.3", "agreeing on several extensions in order", "only one is implemented; RSV1 can be had once"},
	{"RFC 7692 §7.1.1", "memory is given back when no context is taken over", "does not show in frames"},
	{"RFC 7692 §7.2.3.2", "references to earlier messages", "the server never agrees to a takeover; that they are refused is under §7.2.2"},
	{"RFC 7692 §7.3, §9, §10", "intermediaries, registries", "bind others"},
	{"RFC 7692 §8", "secrets and attacker's data in one compressed message", "up to the application"},
}

// Every clause has cases, and every case a clause and a name of its own.
func TestConformanceCoversAll(t *testing.T) {
	cases := map[string]int{}
	names := map[string]bool{}
	for _, p := range confProbes() {
		cases[p.clause]++
		assert.False(t, names[p.clause+"/"+p.name], "two cases are called %s/%s", p.clause, p.name)
		names[p.clause+"/"+p.name] = true
	}
	known := map[string]bool{}
	for _, c := range confClauses {
		assert.False(t, known[c.key], "clause %s stands here twice", c.key)
		known[c.key] = true
		assert.NotZero(t, cases[c.key], "clause %s has no case", c.key)
	}
	for key := range cases {
		assert.True(t, known[key], "cases belong to clause %s, which is not listed", key)
	}
	for _, u := range confUntestable {
		t.Logf("not testable from outside: %s: %s (%s)", u.section, u.rule, u.why)
	}
}

// confProbes is the whole suite.
func confProbes() (all []*probe) {
	for _, topic := range [][]probe{
		framingProbes(), maskProbes(), fragmentProbes(), controlProbes(), closeProbes(), textProbes(),
		limitProbes(), offerProbes(), packedProbes(), packedSentProbes(),
	} {
		for _, p := range topic {
			all = append(all, &p)
		}
	}
	slices.SortFunc(all, func(a, b *probe) int { return strings.Compare(a.clause+a.name, b.clause+b.name) })
	return all
}
