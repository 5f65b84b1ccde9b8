package frame_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// closeRows are payloads of close frames; they also seed FuzzClose.
var closeRows = []struct {
	section string
	payload string
	code    frame.CloseCode
	reason  string
	err     *frame.Error
}{
	{"7.1.5", "", frame.CloseNoStatus, "", nil},
	{"5.5.1", "\x03\xe8", frame.CloseNormal, "", nil},
	{"5.5.1", "\x03\xf1too big", frame.CloseMessageTooBig, "too big", nil},
	{"5.5.1", "\x0b\xb8äöü", 3000, "äöü", nil},
	{"7.4.2", "\x13\x87" + strings.Repeat("x", 123), 4999, strings.Repeat("x", 123), nil},
	{"5.5.1", "\x03", 0, "", frame.ErrCloseLength},
	{"7.4.2", "\x00\x00", 0, "", frame.ErrCloseCode},
	{"7.4.2", "\x03\xe7", 0, "", frame.ErrCloseCode},
	{"7.4.1", "\x03\xec", 0, "", frame.ErrCloseCode},
	{"7.4.1", "\x03\xedno status", 0, "", frame.ErrCloseCode},
	{"7.4.1", "\x03\xee", 0, "", frame.ErrCloseCode},
	{"7.4.1", "\x03\xf7", 0, "", frame.ErrCloseCode},
	{"7.4.2", "\x13\x88", 0, "", frame.ErrCloseCode},
	{"7.4.2", "\xff\xff\xff", 0, "", frame.ErrCloseCode},
	{"8.1", "\x03\xe8\xff", 0, "", frame.ErrCloseReasonUTF8},
	{"8.1", "\x03\xe8half a rune \xe2\x82", 0, "", frame.ErrCloseReasonUTF8},
	{"8.1", "\x03\xe8surrogate \xed\xa0\x80", 0, "", frame.ErrCloseReasonUTF8},
}

func TestParseClose(t *testing.T) {
	for _, row := range closeRows {
		code, reason, err := frame.ParseClose([]byte(row.payload))
		if row.err != nil {
			require.Same(t, row.err, err, "%s %q", row.section, row.payload)
		} else {
			require.NoError(t, err, "%s %q", row.section, row.payload)
			require.Equal(t, row.payload, string(frame.AppendClose(nil, code, reason)))
		}
		assert.Equal(t, row.code, code)
		assert.Equal(t, row.reason, reason)
	}
}

func TestAppendClose(t *testing.T) {
	assert.Equal(t, "before\x03\xe8bye", string(frame.AppendClose([]byte("before"), frame.CloseNormal, "bye")))
	assert.Equal(t, "before", string(frame.AppendClose([]byte("before"), frame.CloseNoStatus, "lost")))
	assert.Len(t, frame.AppendClose(nil, frame.CloseNormal, strings.Repeat("x", 1000)), frame.MaxControlPayload)
}

// RFC 6455 §7.4, and the IANA registry for 1012 to 1014.
func TestEveryCloseCode(t *testing.T) {
	inside := func(c, from, to frame.CloseCode) bool { return from <= c && c <= to }
	for c := range frame.CloseCode(5101) {
		want := inside(c, 1000, 1003) || inside(c, 1007, 1014) || inside(c, 3000, 4999)
		require.Equal(t, want, c.Sendable(), "%d", c)
		_, _, err := frame.ParseClose([]byte{byte(c >> 8), byte(c)})
		require.Equal(t, want, err == nil, "%d", c)
		require.Equal(t, want, frame.ValidateClose(c, "") == nil, "%d", c)
	}
	assert.False(t, frame.CloseCode(65535).Sendable())
}

func TestCloseCodeString(t *testing.T) {
	for c, want := range map[frame.CloseCode]string{
		frame.CloseNormal:         "1000 normal closure",
		1004:                      "1004 reserved",
		frame.CloseNoStatus:       "1005 no status",
		frame.CloseInvalidPayload: "1007 invalid payload",
		frame.CloseMessageTooBig:  "1009 message too big",
		frame.CloseTLSHandshake:   "1015 TLS handshake",
		999:                       "999 unassigned",
		1016:                      "1016 unassigned",
		2999:                      "2999 unassigned",
		3000:                      "3000 registered",
		4999:                      "4999 private use",
		5000:                      "5000 unassigned",
	} {
		assert.Equal(t, want, c.String())
	}
}

func TestValidateClose(t *testing.T) {
	assert.NoError(t, frame.ValidateClose(frame.CloseNormal, ""))
	assert.NoError(t, frame.ValidateClose(4000, strings.Repeat("x", frame.MaxReason)))
	assert.Error(t, frame.ValidateClose(frame.CloseNormal, strings.Repeat("x", frame.MaxReason+1)))
	assert.Error(t, frame.ValidateClose(frame.CloseNormal, "\xff"))
	assert.Error(t, frame.ValidateClose(frame.CloseNoStatus, ""))
	assert.Error(t, frame.ValidateClose(0, ""))
}

func TestTruncateReason(t *testing.T) {
	for _, symbol := range []string{"x", "é", "€", "😀"} {
		for offset := range 130 {
			reason := strings.Repeat("-", offset) + strings.Repeat(symbol, 130)
			cut := frame.TruncateReason(reason)
			require.True(t, strings.HasPrefix(reason, cut))
			require.True(t, utf8.ValidString(cut), "offset %d of %s", offset, symbol)
			require.LessOrEqual(t, len(cut), frame.MaxReason)
			_, next := utf8.DecodeRuneInString(reason[len(cut):])
			require.Greater(t, len(cut)+next, frame.MaxReason, "one more rune would have fitted")
		}
	}
	assert.Equal(t, "", frame.TruncateReason(""))
	fits := strings.Repeat("x", frame.MaxReason-3) + "€"
	assert.Equal(t, fits, frame.TruncateReason(fits))
	broken := strings.Repeat("\x80", 200)
	assert.Equal(t, broken[:frame.MaxReason], frame.TruncateReason(broken), "nothing to keep whole")
}

// legalClose is RFC 6455 §5.5.1 and §7.4 read once more.
func legalClose(p []byte) bool {
	if len(p) < 2 {
		return len(p) == 0
	}
	n := int(p[0])*256 + int(p[1])
	reserved := n == 1004 || n == 1005 || n == 1006 || n == 1015
	return n >= 1000 && n < 5000 && !(n > 1015 && n < 3000) && !reserved && strings.ToValidUTF8(string(p[2:]), "") == string(p[2:])
}

func FuzzClose(f *testing.F) {
	for _, row := range closeRows {
		f.Add([]byte(row.payload))
	}
	f.Add([]byte("\x03\xe8" + strings.Repeat("-", 121) + "€€"))
	f.Fuzz(func(t *testing.T, p []byte) {
		code, reason, err := frame.ParseClose(p)
		require.Equal(t, legalClose(p), err == nil)
		if err != nil {
			require.Zero(t, code)
			require.Zero(t, reason)
			return
		}
		short := frame.TruncateReason(reason)
		require.True(t, utf8.ValidString(short))
		require.LessOrEqual(t, len(short), frame.MaxReason)
		again := frame.AppendClose(nil, code, reason)
		if len(p) <= frame.MaxControlPayload {
			require.Equal(t, string(p), string(again))
		}
		code2, reason2, err := frame.ParseClose(again)
		require.NoError(t, err)
		require.Equal(t, code, code2)
		require.Equal(t, short, reason2)
		if code != frame.CloseNoStatus {
			require.NoError(t, frame.ValidateClose(code, short))
		}
	})
}
