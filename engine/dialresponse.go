package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

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
}

func (r *responder) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errLongResponse
	}
	n, err := r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
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
	br := bufio.NewReaderSize(&responder{d.conn, maxResponseBytes}, 4<<10)
	resp, err := finalResponse(br, d.r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = resp.Body.Close() }()
		return &HandshakeError{Status: resp.StatusCode, Reason: firstLine(resp), Header: resp.Header}
	}
	chosen, err := d.check(resp.Header)
	if err != nil {
		return err
	}
	if o.deflateBits, err = d.agreed(resp.Header); err != nil {
		return err
	}
	u := d.url
	o.scope = packScope([...]string{u.Path, u.RawQuery, d.r.Host, d.conn.RemoteAddr().String(), chosen, headerLines(resp.Header)}, u.Scheme == "wss")
	o.scope.dialled = true
	o.early = buffered(br)
	return nil
}

// mostInterim is how many interim responses (RFC 9110 §15.2) a server may send.
const mostInterim = 8

func finalResponse(br *bufio.Reader, r *http.Request) (*http.Response, error) {
	for range mostInterim {
		resp, err := http.ReadResponse(br, r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: it ends before it is whole", errResponse)
		}
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
	return nil, fmt.Errorf("%w: more than %d interim responses", errResponse, mostInterim)
}

// firstLine returns what a server says about a refusal, or else the status in words.
func firstLine(resp *http.Response) string {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what there is of it
	line, _, _ := strings.Cut(strings.TrimSpace(strings.ToValidUTF8(string(b), "")), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return http.StatusText(resp.StatusCode)
	}
	return line
}

// check holds the response's header against RFC 6455 §4.1 and returns the subprotocol.
func (d *dialling) check(h http.Header) (subprotocol string, err error) {
	accept := h["Sec-Websocket-Accept"]
	chosen := h["Sec-Websocket-Protocol"]
	switch {
	case !hasToken(h["Upgrade"], "websocket"):
		return "", fmt.Errorf("%w: Upgrade is not websocket", errResponse)
	case !hasToken(h["Connection"], "upgrade"):
		return "", fmt.Errorf("%w: Connection is not Upgrade", errResponse)
	case len(accept) != 1 || accept[0] != acceptKey(d.key):
		return "", fmt.Errorf("%w: Sec-WebSocket-Accept does not belong to the key", errResponse)
	case len(chosen) == 0:
		return "", nil
	case len(chosen) > 1 || !slices.Contains(d.cfg.Endpoint.Subprotocols, chosen[0]):
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
