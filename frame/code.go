package frame

import "strconv"

// CloseCode is the status code of a close frame (RFC 6455 §7.4). Services use
// 3000-3999 (registered with IANA) and 4000-4999 (private) for codes of their own.
type CloseCode uint16

// The codes of RFC 6455 §7.4.1 and of the IANA registry (§11.7).
const (
	CloseNormal             CloseCode = 1000
	CloseGoingAway          CloseCode = 1001
	CloseProtocolError      CloseCode = 1002
	CloseUnsupportedData    CloseCode = 1003
	CloseNoStatus           CloseCode = 1005 // never on the wire: the close frame was empty
	CloseAbnormal           CloseCode = 1006 // never on the wire: there was no close frame
	CloseInvalidPayload     CloseCode = 1007
	ClosePolicyViolation    CloseCode = 1008
	CloseMessageTooBig      CloseCode = 1009
	CloseMandatoryExtension CloseCode = 1010
	CloseInternalError      CloseCode = 1011
	CloseServiceRestart     CloseCode = 1012
	CloseTryAgainLater      CloseCode = 1013
	CloseBadGateway         CloseCode = 1014
	CloseTLSHandshake       CloseCode = 1015 // never on the wire: the TLS handshake failed
)

// Sendable reports whether c may stand in a close frame: 1000-1003, 1007-1014
// and 3000-4999 (RFC 6455 §7.4 and the IANA registry). The rest is reserved,
// unassigned, or describes a connection that ended without a close frame.
func (c CloseCode) Sendable() bool {
	switch {
	case c >= CloseNormal && c <= CloseUnsupportedData:
		return true
	case c >= CloseInvalidPayload && c <= CloseBadGateway:
		return true
	}
	return c >= 3000 && c <= 4999
}

// String returns the number and what it stands for: "1009 message too big".
func (c CloseCode) String() string {
	return strconv.Itoa(int(c)) + " " + c.meaning()
}

func (c CloseCode) meaning() string {
	switch {
	case c >= CloseNormal && c <= CloseTLSHandshake:
		return closeMeanings[c-CloseNormal]
	case c >= 3000 && c <= 3999:
		return "registered"
	case c >= 4000 && c <= 4999:
		return "private use"
	}
	return "unassigned"
}

var closeMeanings = [...]string{
	"normal closure",
	"going away",
	"protocol error",
	"unsupported data",
	"reserved",
	"no status",
	"abnormal closure",
	"invalid payload",
	"policy violation",
	"message too big",
	"mandatory extension",
	"internal error",
	"service restart",
	"try again later",
	"bad gateway",
	"TLS handshake",
}
