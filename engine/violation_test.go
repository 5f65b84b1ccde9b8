package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// masked is a header's second byte for a masked frame of n bytes.
func masked(n byte) byte { return 0x80 | n }

// violations are wrong frames in their raw form; the masking key is zero.
var violations = []struct {
	name    string
	section string // of RFC 6455
	wire    []byte
	code    frame.CloseCode
}{
	{"reserved bit 1", "§5.2", []byte{0xC1, masked(0), 0, 0, 0, 0}, 1002},
	{"reserved bit 2", "§5.2", []byte{0xA1, masked(0), 0, 0, 0, 0}, 1002},
	{"reserved bit 3", "§5.2", []byte{0x91, masked(0), 0, 0, 0, 0}, 1002},
	{"reserved bit on a ping", "§5.2", []byte{0xC9, masked(0), 0, 0, 0, 0}, 1002},
	{"opcode 3", "§5.2", []byte{0x83, masked(0), 0, 0, 0, 0}, 1002},
	{"opcode 7", "§5.2", []byte{0x87, masked(0), 0, 0, 0, 0}, 1002},
	{"opcode 11", "§5.2", []byte{0x8B, masked(0), 0, 0, 0, 0}, 1002},
	{"opcode 15", "§5.2", []byte{0x8F, masked(0), 0, 0, 0, 0}, 1002},
	{"unmasked text", "§5.1", []byte{0x81, 0x01, 'x'}, 1002},
	{"unmasked close", "§5.1", []byte{0x88, 0x00}, 1002},
	{"fragmented ping", "§5.5", []byte{0x09, masked(0), 0, 0, 0, 0}, 1002},
	{"fragmented close", "§5.5", []byte{0x08, masked(0), 0, 0, 0, 0}, 1002},
	{"ping of 126 bytes", "§5.5", append([]byte{0x89, masked(126), 0, 126, 0, 0, 0, 0}, letters(126)...), 1002},
	{"continuation first", "§5.4", []byte{0x80, masked(0), 0, 0, 0, 0}, 1002},
	{"continuation after a whole message", "§5.4", []byte{0x81, masked(0), 0, 0, 0, 0, 0x80, masked(0), 0, 0, 0, 0}, 1002},
	{"text inside a fragmented message", "§5.4", []byte{0x01, masked(0), 0, 0, 0, 0, 0x81, masked(0), 0, 0, 0, 0}, 1002},
	{"16-bit length of 125", "§5.2", []byte{0x82, masked(126), 0, 125, 0, 0, 0, 0}, 1002},
	{"64-bit length of 65535", "§5.2", []byte{0x82, masked(127), 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0}, 1002},
	{"64-bit length with its top bit set", "§5.2", []byte{0x82, masked(127), 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1002},
	{"64-bit length of all ones", "§5.2", []byte{0x82, masked(127), 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}, 1002},
	{"64-bit length just below the top bit", "§7.4.1", []byte{0x82, masked(127), 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}, 1009},
	{"text that is not UTF-8", "§8.1", []byte{0x81, masked(2), 0, 0, 0, 0, 0xC3, 0x28}, 1007},
	{"text that ends inside a rune", "§8.1", []byte{0x81, masked(1), 0, 0, 0, 0, 0xC3}, 1007},
	{"text with a surrogate", "§8.1", []byte{0x81, masked(3), 0, 0, 0, 0, 0xED, 0xA0, 0x80}, 1007},
	{"fragmented text that is not UTF-8", "§8.1", []byte{0x01, masked(1), 0, 0, 0, 0, 0xC3, 0x80, masked(1), 0, 0, 0, 0, 0x28}, 1007},
	{"close of one byte", "§5.5.1", []byte{0x88, masked(1), 0, 0, 0, 0, 3}, 1002},
	{"close with 999", "§7.4.2", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xE7}, 1002},
	{"close with 1004", "§7.4.1", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xEC}, 1002},
	{"close with 1005", "§7.4.1", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xED}, 1002},
	{"close with 1006", "§7.4.1", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xEE}, 1002},
	{"close with 1015", "§7.4.1", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xF7}, 1002},
	{"close with 1016", "§7.4.2", []byte{0x88, masked(2), 0, 0, 0, 0, 0x03, 0xF8}, 1002},
	{"close with 2999", "§7.4.2", []byte{0x88, masked(2), 0, 0, 0, 0, 0x0B, 0xB7}, 1002},
	{"close with 5000", "§7.4.2", []byte{0x88, masked(2), 0, 0, 0, 0, 0x13, 0x88}, 1002},
	{"close with a reason that is not UTF-8", "§5.5.1", []byte{0x88, masked(4), 0, 0, 0, 0, 0x03, 0xE8, 0xC3, 0x28}, 1007},
}

// Each violation closes its own connection with its code, whether it comes alone,
// behind a message in the same segment, or byte by byte; nobody else notices.
func TestViolation(t *testing.T) {
	for _, v := range violations {
		t.Run(v.name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				var end ending
				s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
					OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
						if len(m.Data) == 0 {
							return nil // of rows that begin with a good message
						}
						return c.Send(m.Type, m.Data)
					},
					OnClose: end.OnClose,
				}})
				other := s.Dial()
				for name, send := range map[string]func(c *enginetest.Client){
					"at once":      func(c *enginetest.Client) { c.Write(v.wire) },
					"byte by byte": func(c *enginetest.Client) { c.WriteSplit(v.wire, 1) },
					"behind a good message": func(c *enginetest.Client) {
						c.Write(append(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, nil), v.wire...))
					},
				} {
					c := s.Dial()
					send(c)
					code, reason := c.ReadClose()
					require.Equal(t, v.code, code, "%s: %s", name, reason)
					c.CloseWrite()
					c.ExpectEOF()
					c.Close()
				}
				s.AwaitOpen(1)
				for _, err := range end.all() {
					assert.Equal(t, v.code, err.Code)
					assert.False(t, err.Remote)
				}
				assert.EqualValues(t, 3, s.Engine.Stats().Violations)
				other.SendText("undisturbed")
				require.Equal(t, "undisturbed", other.ReadText())
				other.Hangup()
			})
		})
	}
}

// What comes after a close frame is not looked at, whichever segment it is in
// (RFC 6455 §5.5.1).
func TestViolationAfterClose(t *testing.T) {
	garbage := []byte{0xFF, 0xFF, 0xFF, 0xFF}
	for name, send := range map[string]func(c *enginetest.Client, closing []byte){
		"same segment": func(c *enginetest.Client, closing []byte) { c.Write(append(closing, garbage...)) },
		"later": func(c *enginetest.Client, closing []byte) {
			c.Write(closing)
			code, _ := c.ReadClose()
			require.Equal(t, frame.CloseNormal, code)
			c.Write(garbage)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var end ending
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}})
			c := s.Dial()
			send(c, c.Frame(frame.Header{Fin: true, Opcode: frame.Close}, frame.AppendClose(nil, frame.CloseNormal, "bye")))
			c.Close()
			require.Equal(t, &engine.CloseError{Code: frame.CloseNormal, Reason: "bye", Remote: true}, end.await(t))
		})
	}
}

// The first violation counts, also when the scanner sees a later one in the same
// segment before gws has looked at the payload.
func TestViolationFirstCounts(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	c := s.Dial()
	notUTF8 := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte{0xFF})
	c.Write(append(notUTF8, 0xFF, 0xFF))
	c.ExpectClose(frame.CloseInvalidPayload)
}

// Codes that may stand in a close frame are accepted and answered with the same.
func TestViolationNotOfGoodCloseCodes(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	for code := frame.CloseCode(999); code <= 5000; code++ {
		if !code.Sendable() || code > 3001 && code < 4998 {
			continue
		}
		c := s.Dial()
		c.SendClose(code, "for a reason")
		got, reason := c.ReadClose()
		require.Equal(t, code, got)
		require.Empty(t, reason)
		c.ExpectEOF()
		c.Close()
	}
}
