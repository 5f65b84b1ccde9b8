package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/frame/deflate"
)

// maxResponseBytes bounds the header of a server's response, and of a proxy's.
const maxResponseBytes = 64 << 10

// errResponse is why a response is no answer to a handshake.
var errResponse = errors.New("the server's answer to the handshake is wrong")

var errLongResponse = fmt.Errorf("%w: its header is longer than %d bytes", errResponse, maxResponseBytes)

// A responder is a connection from which a bounded number of bytes can be read.
type responder struct {
	net.Conn
	left int
	err  error // why no more could be read; nil at the end
}

func (r *responder) Read(p []byte) (n int, err error) {
	if r.left <= 0 {
		r.err = errLongResponse
		return 0, r.err
	}
	n, err = r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// shakeHands sends the request and holds the response against RFC 6455 §4.1.
func (d *dialling) shakeHands(ctx context.Context, o *beginning) error {
	end := d.within(ctx)
	err := d.exchange(o)
	return errors.Join(err, end())
}

func (d *dialling) exchange(o *beginning) error {
	if err := d.r.Write(d.conn); err != nil {
		return err
	}
	resp, br, err := finalResponse(d.conn, d.r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return &HandshakeError{Status: resp.StatusCode, Reason: d.reason(resp), Header: resp.Header}
	}
	chosen, err := d.check(resp)
	if err != nil {
		return err
	}
	if o.deflateBits, err = d.agreed(resp.Header); err != nil {
		return err
	}
	u := d.url
	o.scope = packScope([...]string{u.Path, u.RawQuery, d.r.Host, d.conn.RemoteAddr().String(), chosen}, resp.Header, u.Scheme == "wss")
	o.scope.dialled = true
	o.early = buffered(br)
	return nil
}

// mostInterim is how many interim responses (RFC 9110 §15.2) a server may send.
const mostInterim = 8

// finalResponse returns the response without reading its body, which need not come,
// and what it has been read from.
func finalResponse(conn net.Conn, r *http.Request) (*http.Response, *bufio.Reader, error) {
	from := &responder{Conn: conn, left: maxResponseBytes}
	br := bufio.NewReaderSize(from, 4<<10)
	for range mostInterim + 1 {
		resp, err := http.ReadResponse(br, r)
		switch {
		case err != nil:
			return nil, nil, from.why(err)
		case resp.StatusCode >= 200, resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, br, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: more than %d interim responses", errResponse, mostInterim)
}

// why says why there is no response. Errors of package net/http are not for others:
// they quote what has been read, which may be our own request, sent back.
func (r *responder) why(err error) error {
	switch {
	case r.err != nil:
		return r.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends before it is whole", errResponse)
	}
	return fmt.Errorf("%w: it is not HTTP", errResponse)
}

// reason returns what a server says about a refusal: the first line of the body that
// is not empty. It returns the status in words if there is none, or if it tells what
// the request had in it: many servers quote the path, and redirections do.
func (d *dialling) reason(resp *http.Response) string {
	line := firstLine(io.LimitReader(resp.Body, maxReasonBytes))
	if line == "" || resp.StatusCode/100 == 3 || d.tells(line) {
		return http.StatusText(resp.StatusCode)
	}
	return line
}

// maxReasonBytes is how much of a refusal's body is read.
const maxReasonBytes = 512

// firstLine reads no further than to its end: the rest may be long in coming.
func firstLine(body io.Reader) string {
	for br := bufio.NewReader(body); ; {
		line, err := br.ReadString('\n')
		line = strings.Map(func(r rune) rune {
			if r == utf8.RuneError || !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, strings.TrimSpace(line))
		if line != "" || err != nil {
			return line
		}
	}
}

// leastSecret is the length from which a part of the target counts as one.
const leastSecret = 3

// tells reports whether a text has some of the target in it that no error may show.
func (d *dialling) tells(text string) bool {
	text = html.UnescapeString(text)
	secrets := []string{strings.Trim(d.url.Path, "/"), strings.Trim(d.url.EscapedPath(), "/"), d.url.RawQuery}
	if d.url.User != nil {
		password, _ := d.url.User.Password()
		secrets = append(secrets, password)
	}
	for _, values := range d.url.Query() {
		secrets = append(secrets, values...)
	}
	for _, authorization := range d.r.Header["Authorization"] {
		_, credentials, _ := strings.Cut(authorization, " ")
		secrets = append(secrets, authorization, credentials)
	}
	return slices.ContainsFunc(secrets, func(s string) bool { return len(s) >= leastSecret && strings.Contains(text, s) })
}

// check holds the response's header against RFC 6455 §4.1 and returns the subprotocol.
func (d *dialling) check(resp *http.Response) (subprotocol string, err error) {
	h := resp.Header
	accept := h["Sec-Websocket-Accept"]
	chosen := h["Sec-Websocket-Protocol"]
	switch {
	case resp.ProtoMajor != 1 || resp.ProtoMinor != 1:
		return "", fmt.Errorf("%w: it is not HTTP/1.1", errResponse)
	case !hasToken(h["Upgrade"], "websocket") || len(elements(h["Upgrade"])) != 1:
		return "", fmt.Errorf("%w: Upgrade is not websocket", errResponse)
	case !hasToken(h["Connection"], "upgrade"):
		return "", fmt.Errorf("%w: Connection is not Upgrade", errResponse)
	case len(accept) != 1 || accept[0] != acceptKey(d.key):
		return "", fmt.Errorf("%w: Sec-WebSocket-Accept does not belong to the key", errResponse)
	case len(chosen) == 0:
		return "", nil
	case len(chosen) > 1 || !slices.Contains(d.ep.subprotocols, chosen[0]):
		return "", fmt.Errorf("%w: it chooses a subprotocol that was not offered", errResponse)
	}
	return chosen[0], nil
}

// agreed returns the window of what is to be compressed for the server, 0 for none.
func (d *dialling) agreed(h http.Header) (bits int, err error) {
	lines := h["Sec-Websocket-Extensions"]
	if !d.e.cfg.Compress {
		if len(elements(lines)) > 0 {
			return 0, fmt.Errorf("%w: it has an extension that was not offered", errResponse)
		}
		return 0, nil
	}
	p, ok, err := deflate.Accept(lines)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errResponse, err)
	case !ok:
		return 0, nil
	}
	return p.ClientBits, nil
}
