package reconnect

import (
	"errors"
	"net/http"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Hopeless is the default of Config.GiveUp: it reports whether the same client would
// meet with the same end again. These are hopeless; everything else may pass, networks,
// names and certificates included:
//
//   - the server's close with 1000, by which it says that the purpose is fulfilled, not
//     that something is wrong; 1002, 1003, 1007, 1009 and 1010, which blame what this client
//     sends; 1008, and 3000 and 3003 of the IANA registry, which say that it may not;
//   - a refusal of the handshake with 2xx or 3xx, for there is no WebSocket endpoint
//     at the target; with 4xx, but for 408, 421, 425 and 429, which are about the moment;
//     with 501 and 505;
//   - an engine that has been shut down, and ErrAck.
//
// The other registered codes are about the server's moment (1001, 1011 to 1014, 3008) or say
// nothing (1005, 1006); of 4000 to 4999 only the application knows. What this side has
// closed, for the server's mistakes or silence, or in a handler, is connected again,
// perhaps to another server behind the same name: Client.Close is what ends a client.
func Hopeless(err error) bool {
	var closed *engine.CloseError
	var refused *engine.HandshakeError
	switch {
	case errors.Is(err, engine.ErrShutdown), errors.Is(err, ErrAck):
		return true
	case errors.As(err, &refused):
		return hopelessStatus(refused.Status)
	case errors.As(err, &closed):
		return closed.Cause == engine.CauseShutdown || closed.Remote && hopelessCode(closed.Code)
	}
	return false
}

func hopelessStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return true
	}
	return status < 500
}

// Codes of the IANA registry beyond RFC 6455.
const (
	closeUnauthorized frame.CloseCode = 3000
	closeForbidden    frame.CloseCode = 3003
)

func hopelessCode(code frame.CloseCode) bool {
	switch code {
	case frame.CloseNormal, frame.CloseProtocolError, frame.CloseUnsupportedData, frame.CloseInvalidPayload,
		frame.ClosePolicyViolation, frame.CloseMessageTooBig, frame.CloseMandatoryExtension,
		closeUnauthorized, closeForbidden:
		return true
	}
	return false
}
