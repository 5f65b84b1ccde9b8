package interceptors

import (
	"net/http"
	"net/textproto"
	"strings"
)

// TokenSources says where a token may be. They are asked in the order of the fields, and
// the first that has one decides.
type TokenSources struct {
	// Bearer is "Authorization: Bearer <token>" (RFC 6750 §2.1).
	Bearer bool

	// Header is the name of a header field that is the token.
	Header string

	// Cookie is the name of a cookie. A browser sends cookies whoever's page opens the
	// connection: with them the Origin must be checked. The engine only lets its own
	// through by default; do not widen Config.AllowedOrigins beyond pages you trust.
	Cookie string

	// Query is the name of a parameter of the URL, which is all that a script in a browser
	// has besides cookies and Subprotocol. URLs come into the logs of proxies: let such
	// tokens live shortly.
	Query string

	// Subprotocol is the beginning of an element of Sec-WebSocket-Protocol whose rest is
	// the token: "token." finds it in new WebSocket(url, ["chat", "token.s3cret"]). The
	// endpoint must choose another of the elements (its Subprotocols), or the browser
	// fails the connection; the token is never echoed.
	Subprotocol string
}

// Find returns the token of a request. Two in one place are found, and are none that is valid
// (""): which of them counts, a proxy before us may see in another way.
func (s TokenSources) Find(r *http.Request) (token string, found bool) {
	for _, source := range []func(*http.Request) []string{s.bearer, s.header, s.cookie, s.query, s.subprotocol} {
		switch values := source(r); len(values) {
		case 0:
		case 1:
			return values[0], true
		default:
			return "", true
		}
	}
	return "", false
}

// bearer leaves other schemes to other sources.
func (s TokenSources) bearer(r *http.Request) (tokens []string) {
	if !s.Bearer {
		return nil
	}
	for _, line := range r.Header["Authorization"] {
		if token, ok := BearerToken(line); ok {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// BearerToken returns the token of a line of the header Authorization with the scheme Bearer
// (RFC 6750 §2.1), which may be empty; false: the scheme is another.
func BearerToken(line string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(textproto.TrimString(line), " ")
	return textproto.TrimString(token), strings.EqualFold(scheme, "bearer")
}

func (s TokenSources) header(r *http.Request) []string {
	if s.Header == "" {
		return nil
	}
	return r.Header.Values(s.Header)
}

func (s TokenSources) cookie(r *http.Request) (tokens []string) {
	if s.Cookie == "" {
		return nil
	}
	for _, c := range r.CookiesNamed(s.Cookie) {
		tokens = append(tokens, c.Value)
	}
	return tokens
}

func (s TokenSources) query(r *http.Request) []string {
	if s.Query == "" {
		return nil
	}
	return r.URL.Query()[s.Query]
}

func (s TokenSources) subprotocol(r *http.Request) (tokens []string) {
	if s.Subprotocol == "" {
		return nil
	}
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for element := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.Trim(element, " \t"), s.Subprotocol); ok {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}
