package engine

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 names it; nothing secret depends on it
	"encoding/base64"
	"errors"
	"net/http"
	"net/textproto"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/interceptors"
)

// ServeHTTP checks the request by RFC 6455 §4.2.1 and upgrades it, or answers
// with the HTTP status that fits.
func (ep *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A refused peer must not keep the connection by not reading the answer, nor
	// by a body that does not come. Hijacking clears these deadlines.
	deadline := time.Now().Add(ep.e.cfg.HandshakeTimeout)
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(deadline) // a wrapper of w may not be able to
	_ = rc.SetWriteDeadline(deadline)
	if err := ep.upgrade(w, r); err != nil {
		h := refusal(err)
		ep.e.counters.refused[h.why].Add(1)
		refuse(w, h)
	}
}

// refusal makes one error of all that may refuse an upgrade. What is no
// *HandshakeError comes from Admit.
func refusal(err error) *HandshakeError {
	var h *HandshakeError
	if errors.As(err, &h) {
		return h.answerable()
	}
	h = &HandshakeError{Status: http.StatusForbidden, Reason: "not admitted", why: RefusedHandler}
	var r interceptors.Refusal
	if errors.As(err, &r) && r.Status >= 400 && r.Status <= 599 {
		h.Status, h.Reason, h.Header = r.Status, r.Message, http.Header{}
		if r.RetryAfter > 0 {
			h.Header.Set("Retry-After", strconv.FormatInt(wholeSeconds(r.RetryAfter), 10))
		}
		if r.Status == http.StatusUnauthorized { // which must have a challenge, RFC 9110 §15.5.2
			h.Header.Set("WWW-Authenticate", cmp.Or(r.Challenge, "Bearer"))
		}
	}
	return h
}

// answerable returns h with a status that can answer a request: for any other net/http
// panics, or leaves the peer waiting.
func (h *HandshakeError) answerable() *HandshakeError {
	if h.Status >= 200 && h.Status <= 599 {
		return h
	}
	own := *h
	own.Status = http.StatusForbidden
	return &own
}

// refuse writes the response to a request that is not upgraded, whoever refused.
func refuse(w http.ResponseWriter, h *HandshakeError) {
	w.Header().Set("Connection", "close")
	for name, values := range h.Header {
		w.Header()[name] = values
	}
	http.Error(w, h.Reason, h.Status)
}

func bad(reason string) error {
	return &HandshakeError{Status: http.StatusBadRequest, Reason: reason}
}

func (ep *endpoint) upgrade(w http.ResponseWriter, r *http.Request) error {
	if ep.e.draining.Load() {
		return busy(http.StatusServiceUnavailable, RefusedShutdown, "shutting down")
	}
	if err := checkRequest(r); err != nil {
		return err
	}
	scope := newScope(r, ep.e.cfg.TrustedProxies, chooseSubprotocol(ep.subprotocols, r.Header["Sec-Websocket-Protocol"]))
	if origin := r.Header["Origin"]; len(origin) > 1 || len(origin) == 1 && !ep.e.origins.allow(origin[0], scope) {
		return &HandshakeError{Status: http.StatusForbidden, Reason: "origin not allowed", why: RefusedOrigin}
	}
	if err := ep.e.admission.enter(scope); err != nil {
		return err
	}
	arrived, entered := false, false
	defer func() { // deferred: Admit and Hijack may be the program's
		if entered {
			return
		}
		if arrived {
			ep.e.turnBack()
		}
		ep.e.admission.leave(scope)
	}()
	admitted, first, err := ep.admits(r)
	if err != nil {
		return err
	}
	if admitted != r {
		scope.keep(admitted)
	}
	deflateBits, extensions, err := ep.negotiate(r)
	if err != nil {
		return err
	}
	response := switchingProtocols(r.Header.Get("Sec-WebSocket-Key"), scope.Subprotocol(), extensions, w.Header().Clone())
	if arrived = ep.e.arrive(); !arrived {
		return busy(http.StatusServiceUnavailable, RefusedShutdown, "shutting down")
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return &HandshakeError{Status: http.StatusInternalServerError, Reason: "this server cannot upgrade connections", why: RefusedServer}
	}
	if ep.sees&interceptors.Outbounds != 0 {
		scope.header = admitted.Header
	}
	entered = true
	ep.e.start(ep, beginning{ep.e.newSocket(conn, false), deflateBits, buffered(rw.Reader), response, scope, first, true})
	return nil
}

// admits asks the interceptors and the handler. It returns the request as they have
// left it, and what they have stored for the connection. A panic costs this request
// only.
func (ep *endpoint) admits(r *http.Request) (admitted *http.Request, first values, err error) {
	if ep.handler.Admit == nil && ep.chain.Len() == 0 {
		return r, nil, nil
	}
	defer func() {
		if p := recover(); p != nil {
			ep.e.counters.panics.Add(1)
			ep.e.cfg.Logger.Error("penstock: Admit panicked", "panic", p, "stack", string(debug.Stack()))
			err = &HandshakeError{Status: http.StatusInternalServerError, Reason: "internal error", why: RefusedServer}
		}
	}()
	early := new(earlyStore)
	r = r.WithContext(context.WithValue(r.Context(), interceptors.StoreKey{}, early))
	err = ep.chain.Admit(r)
	if err == nil && ep.handler.Admit != nil {
		err = ep.handler.Admit(r)
	}
	var h *HandshakeError
	if errors.As(err, &h) {
		own := *h
		own.why = RefusedHandler
		err = &own
	}
	return r, early.take(), err
}

// maxKeptBytes bounds what a Scope keeps of a request for the connection's life. Serve has
// net/http refuse more unread; other servers' default is a megabyte.
const maxKeptBytes = 16 << 10

func keptBytes(r *http.Request) int {
	n := len(r.URL.Path) + len(r.URL.RawQuery) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// checkRequest holds a request against RFC 6455 §4.2.1.
func checkRequest(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet:
		return &HandshakeError{Status: http.StatusMethodNotAllowed, Reason: "a WebSocket handshake is a GET request", Header: http.Header{"Allow": {"GET"}}}
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1:
		return &HandshakeError{Status: http.StatusHTTPVersionNotSupported, Reason: "a WebSocket handshake is HTTP/1.1"}
	case r.Host == "":
		return bad("Host is missing")
	case !IsUpgrade(r):
		return upgradeRequired("this is a WebSocket endpoint: Upgrade must contain websocket")
	case !hasToken(r.Header["Connection"], "upgrade"):
		return bad("Connection must contain upgrade")
	case r.Header.Get("Sec-WebSocket-Version") != "13" || len(r.Header["Sec-Websocket-Version"]) != 1:
		return upgradeRequired("Sec-WebSocket-Version must be 13")
	case !validKey(r.Header["Sec-Websocket-Key"]):
		return bad("Sec-WebSocket-Key must be 16 bytes in base64")
	case keptBytes(r) > maxKeptBytes:
		return &HandshakeError{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the header, with the URL, is too large"}
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return bad("a WebSocket handshake has no body")
	}
	return nil
}

// IsUpgrade reports whether a request asks for a WebSocket: who serves something else on
// an endpoint's path tells the two apart by it.
func IsUpgrade(r *http.Request) bool { return hasToken(r.Header["Upgrade"], "websocket") }

// upgradeRequired is the answer of RFC 6455 §4.4.
func upgradeRequired(reason string) error {
	return &HandshakeError{
		Status: http.StatusUpgradeRequired,
		Reason: reason,
		Header: http.Header{"Sec-Websocket-Version": {"13"}, "Upgrade": {"websocket"}, "Connection": {"Upgrade"}},
	}
}

func validKey(values []string) bool {
	if len(values) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(values[0])
	return err == nil && len(key) == 16
}

// acceptKey computes Sec-WebSocket-Accept (RFC 6455 §4.2.2, step 5.4).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// chooseSubprotocol returns the first of ours that stands in any of the
// client's header lines, or "".
func chooseSubprotocol(ours, lines []string) string {
	offered := elements(lines)
	for _, want := range ours {
		if slices.Contains(offered, want) {
			return want
		}
	}
	return ""
}

// buffered returns what net/http has read beyond the request.
func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return bytes.Clone(b)
}

// switchingProtocols builds the response of RFC 6455 §4.2.2. The headers that a
// wrapping handler has set go out with it.
func switchingProtocols(key, subprotocol, extensions string, header http.Header) []byte {
	for name := range header { // which a wrapping handler may have spelt in its own way
		switch http.CanonicalHeaderKey(name) {
		case "Connection", "Upgrade", "Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Content-Length", "Transfer-Encoding":
			delete(header, name)
		}
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 " + strconv.Itoa(http.StatusSwitchingProtocols) + " Switching Protocols\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptKey(key) + "\r\n")
	if subprotocol != "" {
		b.WriteString("Sec-WebSocket-Protocol: " + subprotocol + "\r\n")
	}
	if extensions != "" {
		b.WriteString("Sec-WebSocket-Extensions: " + extensions + "\r\n")
	}
	_ = header.Write(&b) // a bytes.Buffer takes everything; Write also keeps line breaks out of values
	b.WriteString("\r\n")
	return b.Bytes()
}

// hasToken reports whether a comma-separated header contains token, in any case of
// ASCII's letters: others have more bytes, though some fold to them.
func hasToken(lines []string, token string) bool {
	return slices.ContainsFunc(elements(lines), func(t string) bool {
		return len(t) == len(token) && strings.EqualFold(t, token)
	})
}

// elements returns what header lines list with commas; empty elements are none
// (RFC 9110 §5.6.1).
func elements(lines []string) (list []string) {
	for _, line := range lines {
		for e := range strings.SplitSeq(line, ",") {
			if e = textproto.TrimString(e); e != "" {
				list = append(list, e)
			}
		}
	}
	return list
}
