package deflate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame/deflate"
)

const bare = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// negotiations are requests; they also seed FuzzNegotiate. answer "" is no
// extension, unless at is set: then it is a syntax error at that place.
var negotiations = []struct {
	section string
	lines   []string
	answer  string
	at      *deflate.SyntaxError
}{
	// What browsers and libraries send.
	{"7692 7.1.3", []string{"permessage-deflate"}, bare, nil},
	{"7692 7.1.3", []string{"permessage-deflate; client_max_window_bits"}, bare, nil},
	{"7692 7.1.3", []string{"permessage-deflate; client_max_window_bits; server_max_window_bits=10"}, bare + "; server_max_window_bits=10", nil},
	{"7692 7.1.3", []string{"permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits"}, bare + "; server_max_window_bits=10", nil},
	{"7692 7.1.1", []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, bare, nil},
	{"7692 7.1", []string{deflate.Offer}, bare, nil},
	{"7692 9", []string{"permessage-deflate;client_max_window_bits=15;server_max_window_bits=15"}, bare + "; server_max_window_bits=15", nil},

	// Nothing to accept.
	{"6455 9.1", nil, "", nil},
	{"2616 2.1", []string{""}, "", nil},
	{"2616 2.1", []string{" , ,\t, "}, "", nil},
	{"7692 7", []string{"permessage-deflate-foo"}, "", nil},
	{"7692 7", []string{"x-permessage-deflate"}, "", nil},
	{"7692 7", []string{"permessage_deflate"}, "", nil},
	{"7692 7", []string{"x-webkit-deflate-frame"}, "", nil},
	{"7692 7", []string{"foo; permessage-deflate"}, "", nil},
	{"7692 7", []string{"foo; bar=permessage-deflate"}, "", nil},

	// Several offers, several lines: the first good one.
	{"6455 9.1", []string{"foo, permessage-deflate"}, bare, nil},
	{"6455 9.1", []string{"foo", "permessage-deflate"}, bare, nil},
	{"6455 9.1", []string{"permessage-deflate; server_max_window_bits=9", "permessage-deflate"}, bare + "; server_max_window_bits=9", nil},
	{"7692 5.1", []string{"permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=11"}, bare + "; server_max_window_bits=11", nil},
	{"7692 5.1", []string{"permessage-deflate; unknown", "foo; a=b; a=c", "permessage-deflate; server_max_window_bits=12", "permessage-deflate"}, bare + "; server_max_window_bits=12", nil},
	{"2616 2.1", []string{",, permessage-deflate ,,", ""}, bare, nil},

	// RFC 7692 §7.1: unknown, repeated.
	{"7692 7.1", []string{"permessage-deflate; unknown"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; max_window_bits=10"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; unknown=\"8\"; server_no_context_takeover"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; client_no_context_takeover; client_no_context_takeover"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; client_max_window_bits; client_max_window_bits=10"}, "", nil},
	{"7692 7.1", []string{"permessage-deflate; client_max_window_bits; CLIENT_max_window_bits"}, "", nil},

	// RFC 7692 §7.1.1: no values.
	{"7692 7.1.1.1", []string{"permessage-deflate; server_no_context_takeover=true"}, "", nil},
	{"7692 7.1.1.1", []string{"permessage-deflate; server_no_context_takeover=\"1\""}, "", nil},
	{"7692 7.1.1.2", []string{"permessage-deflate; client_no_context_takeover=8"}, "", nil},

	// RFC 7692 §7.1.2: 8 to 15, decimal, no leading zero.
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=7"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=8"}, bare + "; server_max_window_bits=8", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=9"}, bare + "; server_max_window_bits=9", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=15"}, bare + "; server_max_window_bits=15", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=16"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=08"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=0"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=+9"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=-9"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=9.0"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=0x9"}, "", nil},
	{"7692 7.1.2.1", []string{"permessage-deflate; server_max_window_bits=18446744073709551624"}, "", nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=8"}, bare, nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=15"}, bare, nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=7"}, "", nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=16"}, "", nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=010"}, "", nil},
	{"7692 7.1.2.2", []string{"permessage-deflate; client_max_window_bits=true"}, "", nil},

	// Quoted values, space, case.
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="10"`}, bare + "; server_max_window_bits=10", nil},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="1\0"`}, bare + "; server_max_window_bits=10", nil},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="010"`}, "", nil},
	{"6455 9.1", []string{`foo; bar="a.b"; c = "d" , permessage-deflate`}, bare, nil},
	{"2616 2.1", []string{"\tpermessage-deflate\t; \tserver_max_window_bits \t=\t 10\t "}, bare + "; server_max_window_bits=10", nil},
	{"2616 2.1", []string{"PerMessage-Deflate; Server_Max_Window_Bits=10"}, bare + "; server_max_window_bits=10", nil},

	// RFC 6455 §9.1: the grammar is broken.
	{"6455 9.1", []string{"permessage-deflate;"}, "", &deflate.SyntaxError{Offset: 19}},
	{"6455 9.1", []string{"permessage-deflate;;client_max_window_bits"}, "", &deflate.SyntaxError{Offset: 19}},
	{"6455 9.1", []string{"permessage-deflate; , foo"}, "", &deflate.SyntaxError{Offset: 20}},
	{"6455 9.1", []string{"; permessage-deflate"}, "", &deflate.SyntaxError{Offset: 0}},
	{"6455 9.1", []string{"permessage-deflate client_max_window_bits"}, "", &deflate.SyntaxError{Offset: 19}},
	{"6455 9.1", []string{"permessage-deflate=1"}, "", &deflate.SyntaxError{Offset: 18}},
	{"6455 9.1", []string{"permessage-deflate", "foo", "bar; =1"}, "", &deflate.SyntaxError{Line: 2, Offset: 5}},
	{"6455 9.1", []string{"permessage-deflate; server_max_window_bits="}, "", &deflate.SyntaxError{Offset: 43}},
	{"6455 9.1", []string{"permessage-deflate; server_max_window_bits=, foo"}, "", &deflate.SyntaxError{Offset: 43}},
	{"6455 9.1", []string{"permessage-deflate; server_max_window_bits=9 9"}, "", &deflate.SyntaxError{Offset: 45}},
	{"6455 9.1", []string{"permessage-deflate; server_max_window_bits=9=9"}, "", &deflate.SyntaxError{Offset: 44}},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits=""`}, "", &deflate.SyntaxError{Offset: 44}},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="10`}, "", &deflate.SyntaxError{Offset: 46}},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="1 0"`}, "", &deflate.SyntaxError{Offset: 45}},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="10\`}, "", &deflate.SyntaxError{Offset: 47}},
	{"6455 9.1", []string{`permessage-deflate; server_max_window_bits="10"x`}, "", &deflate.SyntaxError{Offset: 47}},
	{"6455 9.1", []string{`foo; bar="a,b", permessage-deflate`}, "", &deflate.SyntaxError{Offset: 11}},
	{"6455 9.1", []string{`foo; bar="a`, `b", permessage-deflate`}, "", &deflate.SyntaxError{Offset: 11}},
	{"6455 9.1", []string{`foo; bar="a\"b", permessage-deflate`}, "", &deflate.SyntaxError{Offset: 12}},
	{"6455 9.1", []string{`"permessage-deflate"`}, "", &deflate.SyntaxError{Offset: 0}},
	{"6455 9.1", []string{"permessage-defläte"}, "", &deflate.SyntaxError{Offset: 15}},
	{"6455 9.1", []string{"permessage-deflate\x00"}, "", &deflate.SyntaxError{Offset: 18}},
	{"6455 9.1", []string{"permessage-deflate\x7f"}, "", &deflate.SyntaxError{Offset: 18}},
	{"6455 9.1", []string{"foo/bar"}, "", &deflate.SyntaxError{Offset: 3}},
}

func TestNegotiate(t *testing.T) {
	for _, row := range negotiations {
		t.Run(row.section+"/"+strings.Join(row.lines, "|"), func(t *testing.T) {
			p, answer, ok, err := deflate.Negotiate(row.lines)
			assert.Equal(t, row.answer, answer)
			assert.Equal(t, row.answer != "", ok)
			if row.at != nil {
				var e *deflate.SyntaxError
				require.ErrorAs(t, err, &e)
				assert.NotEmpty(t, e.Reason)
				assert.Equal(t, *row.at, deflate.SyntaxError{Line: e.Line, Offset: e.Offset})
			} else {
				require.NoError(t, err)
			}
			if !ok {
				assert.Zero(t, p)
				return
			}
			got, ok, err := deflate.Accept([]string{answer})
			require.NoError(t, err, "our own client must take it")
			assert.True(t, ok)
			assert.Equal(t, got, p)
		})
	}
}

func TestNegotiateParams(t *testing.T) {
	for offer, want := range map[string]deflate.Params{
		"permessage-deflate":                            {ServerBits: 15, ClientBits: 15},
		"permessage-deflate; server_max_window_bits=8":  {ServerBits: 8, ClientBits: 15},
		"permessage-deflate; server_max_window_bits=15": {ServerBits: 15, ClientBits: 15},
		"permessage-deflate; client_max_window_bits=9":  {ServerBits: 15, ClientBits: 15},
	} {
		p, _, ok, err := deflate.Negotiate([]string{offer})
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, want, p, offer)
	}
}

// RFC 2616 §2.2, character by character.
func TestTokenBytes(t *testing.T) {
	for c := range 256 {
		_, _, _, err := deflate.Negotiate([]string{"x" + string([]byte{byte(c)}) + "y; a=b"})
		separates := c == ',' // ends one extension and begins another
		token := c > ' ' && c < 127 && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(c))
		parameter := c == ';'
		assert.Equal(t, token || separates || parameter, err == nil, "%q", byte(c))
	}
}

func TestSyntaxErrorSaysWhere(t *testing.T) {
	_, _, _, err := deflate.Negotiate([]string{"foo", "permessage-deflate;"})
	require.Error(t, err)
	assert.Equal(t, "deflate: Sec-WebSocket-Extensions, line 1, byte 19: a parameter's name expected", err.Error())
}

func FuzzNegotiate(f *testing.F) {
	for _, row := range negotiations {
		f.Add(strings.Join(row.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, header string) {
		lines := strings.Split(header, "\n")
		p, answer, ok, err := deflate.Negotiate(lines)
		if err != nil {
			var e *deflate.SyntaxError
			require.ErrorAs(t, err, &e)
			require.Less(t, e.Line, len(lines))
			require.LessOrEqual(t, e.Offset, len(lines[e.Line]))
			require.False(t, ok)
		}
		if !ok {
			require.Zero(t, p)
			require.Empty(t, answer)
		} else {
			got, ok, err := deflate.Accept([]string{answer})
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, got, p)
			asks := strings.Contains(strings.ToLower(header), "server_max_window_bits")
			require.True(t, asks || !strings.Contains(answer, "server_max_window_bits"), "never unasked")
			require.NotContains(t, answer, "client_max_window_bits")
		}
		joined, joinedAnswer, joinedOK, joinedErr := deflate.Negotiate([]string{strings.Join(lines, ",")})
		if err == nil { // lines are as good as commas (RFC 6455 §9.1)
			require.NoError(t, joinedErr)
			require.Equal(t, p, joined)
			require.Equal(t, answer, joinedAnswer)
			require.Equal(t, ok, joinedOK)
		}
		_, ok, err = deflate.Accept(lines)
		var e *deflate.SyntaxError
		require.True(t, err == nil || !ok && (errors.Is(err, deflate.ErrAnswer) || errors.As(err, &e)))
	})
}
