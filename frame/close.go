package frame

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// AppendClose appends the payload of a close frame to dst (RFC 6455 §5.5.1):
// code and reason, the reason cut by TruncateReason. CloseNoStatus appends
// nothing, and the reason is lost: without a code there is no room for it. It
// does not judge the code; ValidateClose does.
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	if code == CloseNoStatus {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, TruncateReason(reason)...)
}

// ParseClose reads the payload of a peer's close frame (RFC 6455 §5.5.1). An
// empty one is CloseNoStatus. Errors: ErrCloseLength, ErrCloseCode,
// ErrCloseReasonUTF8, with code 0 and no reason. The reason is a copy of p's bytes.
func ParseClose(p []byte) (CloseCode, string, error) {
	switch len(p) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return 0, "", ErrCloseLength
	}
	code := CloseCode(binary.BigEndian.Uint16(p))
	if !code.Sendable() {
		return 0, "", ErrCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return 0, "", ErrCloseReasonUTF8
	}
	return code, string(p[2:]), nil
}

// ValidateClose tells what is wrong with a close that an application asks for:
// the code must be Sendable, the reason UTF-8 of at most MaxReason bytes.
func ValidateClose(code CloseCode, reason string) error {
	if !code.Sendable() {
		return fmt.Errorf("frame: close code %v may not be sent; allowed are 1000-1003, 1007-1014 and 3000-4999", code)
	}
	if len(reason) > MaxReason {
		return fmt.Errorf("frame: close reason is %d bytes; allowed are %d", len(reason), MaxReason)
	}
	if !utf8.ValidString(reason) {
		return fmt.Errorf("frame: close reason %q is not valid UTF-8", reason)
	}
	return nil
}

// TruncateReason returns reason, or as much of its start as fits MaxReason
// bytes without cutting a rune in two (a peer must refuse half a rune as
// invalid UTF-8, RFC 6455 §8.1). It does not repair what was invalid before.
func TruncateReason(reason string) string {
	if len(reason) <= MaxReason {
		return reason
	}
	for cut := MaxReason; cut > MaxReason-utf8.UTFMax; cut-- {
		if utf8.RuneStart(reason[cut]) {
			return reason[:cut]
		}
	}
	return reason[:MaxReason] // no rune is that long: it was not UTF-8
}
