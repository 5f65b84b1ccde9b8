package engine_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// The suite encodes and decodes by itself, not with package frame: what both ends
// got wrong together nobody would notice.

// First bytes of frames: FIN, and an opcode.
const (
	confFin      = 0x80
	confRSV1     = 0x40
	confContinue = 0x0
	confText     = 0x1
	confBinary   = 0x2
	confClose    = 0x8
	confPing     = 0x9
	confPong     = 0xA
)

// confKey is the masking key of RFC 6455 §5.7.
var confKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// fRaw is a masked frame with any first byte.
func fRaw(b0 byte, payload string) []byte { return fMasked(confKey, b0, payload) }

func fMasked(key [4]byte, b0 byte, payload string) []byte {
	b := fHead(key, b0, 0, uint64(len(payload)))
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// fHead is a header that announces length in so many bytes; 0: in the least that
// do, 1 stands for the seven bits.
func fHead(key [4]byte, b0 byte, size int, length uint64) []byte {
	b := []byte{b0}
	switch {
	case size == 8 || size == 0 && length > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), length)
	case size == 2 || size == 0 && length > 125:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = append(b, 0x80|byte(length))
	}
	return append(b, key[:]...)
}

// fLong is a frame whose length takes so many bytes, whether it needs them or not.
func fLong(b0 byte, size int, payload string) []byte {
	masked := fRaw(b0, payload)
	return append(fHead(confKey, b0, size, uint64(len(payload))), masked[len(masked)-len(payload):]...)
}

// fUnmasked is what a client must not send.
func fUnmasked(b0 byte, payload string) []byte {
	return append([]byte{b0, byte(len(payload))}, payload...)
}

func fText(s string) []byte              { return fRaw(confFin|confText, s) }
func fBinary(s string) []byte            { return fRaw(confFin|confBinary, s) }
func fPing(s string) []byte              { return fRaw(confFin|confPing, s) }
func fPong(s string) []byte              { return fRaw(confFin|confPong, s) }
func fStart(op byte, s string) []byte    { return fRaw(op, s) }
func fMore(s string) []byte              { return fRaw(confContinue, s) }
func fLast(s string) []byte              { return fRaw(confFin|confContinue, s) }
func fCloseBody(s string) []byte         { return fRaw(confFin|confClose, s) }
func fClose(code int, r string) []byte   { return fCloseBody(fCode(code) + r) }
func fCode(code int) string              { return string([]byte{byte(code >> 8), byte(code)}) }
func wire(frames ...[]byte) (all []byte) { return bytes.Join(frames, nil) }

// fPieces is a message in fragments that are cut at the given places, with between
// after each but the last.
func fPieces(b0 byte, s string, between []byte, cuts ...int) (all []byte) {
	from := 0
	for _, cut := range cuts {
		all = append(append(all, fRaw(b0, s[from:cut])...), between...)
		b0, from = confContinue, cut
	}
	return append(all, fRaw(confFin|b0, s[from:])...)
}

// every returns the places between all bytes of s.
func every(s string) (cuts []int) {
	for i := 1; i < len(s); i++ {
		cuts = append(cuts, i)
	}
	return cuts
}

// A said is a message.
type said struct {
	op   byte
	data string
}

func (m said) String() string {
	name := map[byte]string{confText: "text", confBinary: "binary"}[m.op]
	return fmt.Sprintf("%s %s", name, confQuote(m.data))
}

func confQuote(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%.40q… (%d bytes)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

func texts(list ...string) (all []said) {
	for _, s := range list {
		all = append(all, said{confText, s})
	}
	return all
}

func binaries(list ...string) (all []said) {
	for _, s := range list {
		all = append(all, said{confBinary, s})
	}
	return all
}

// A session is one connection of the suite: a strict client, and what it has seen.
type session struct {
	conn     *net.TCPConn
	r        *bufio.Reader
	patience time.Duration

	status  int
	answer  []string        // Sec-WebSocket-Extensions of the response
	agreed  bool            // on compression
	fresh   bool            // the server takes over no context
	turned  bool            // this is the server, and what is tested the client
	keys    map[[4]byte]int // with which the client has masked
	history []byte          // else what its next message may refer to

	raw    []byte // all that came after the response
	said   []said
	frames []int  // of each message
	packed []bool // which of them were compressed
	wires  []string
	pongs  []string
	pings  []string
	code   int // of the close frame; 0: none has come, 1005: it was empty
	reason string
	end    string // "eof", "reset", or what it was instead
	tardy  bool   // nothing came until the rest was sent
	unsent error  // why some of the first bytes could not be
	wrong  string // the first thing that a server must not send

	events chan struct{} // one for each message, control frame, and close
	closed chan struct{} // the close frame has come
	slow   chan struct{} // nothing has come for too long
	over   chan struct{} // nothing more will be read
	sent   chan struct{} // the first bytes are, or cannot be
	open   []byte        // the message coming in
	openOp byte
	count  int
	rsv1   bool
}

// confPatienceErr is what a session ends with that nothing ends.
const confPatienceErr = "nothing more, and no end"

// openSession connects and shakes hands.
func openSession(addr, path string, offer []string, patience time.Duration) (*session, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	s := newSession(conn, patience)
	request := "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, line := range offer {
		request += "Sec-WebSocket-Extensions: " + line + "\r\n"
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		_ = conn.Close()
		return nil, err
	}
	res, err := http.ReadResponse(s.r, nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = res.Body.Close() // of a 101 there is none
	s.status, s.answer = res.StatusCode, res.Header["Sec-Websocket-Extensions"]
	all := strings.Join(s.answer, ",")
	s.agreed = strings.Contains(all, "permessage-deflate")
	s.fresh = strings.Contains(all, "server_no_context_takeover")
	return s, nil
}

func newSession(conn net.Conn, patience time.Duration) *session {
	return &session{
		conn: conn.(*net.TCPConn), r: bufio.NewReader(conn), patience: patience, keys: make(map[[4]byte]int),
		events: make(chan struct{}, 1<<14), closed: make(chan struct{}), slow: make(chan struct{}), over: make(chan struct{}), sent: make(chan struct{}),
	}
}

// run sends what p wants sent, in pieces, and reads to the end, or until more
// messages have come from a server that should have failed.
func (s *session) run(p *probe, send []byte, most int, pieces func([]byte) [][]byte) {
	written := make(chan struct{})
	go func() { // ends with the session: writing has its deadline
		defer close(written)
		s.write(p, send, pieces)
	}()
	s.read(p, most)
	if p.insists {
		<-s.sent
	}
	close(s.over)
	_ = s.conn.SetWriteDeadline(time.Now())
	<-written
}

func (s *session) write(p *probe, send []byte, pieces func([]byte) [][]byte) {
	put := func(b []byte) error {
		for _, piece := range pieces(b) {
			if _, err := s.conn.Write(piece); err != nil {
				return err // the server may have ended the connection
			}
		}
		return nil
	}
	s.unsent = put(send)
	close(s.sent)
	if p.later != nil {
		for range p.after {
			select {
			case <-s.events:
			case <-s.over:
			}
		}
		_ = put(p.later)
	}
	if !p.hangup {
		select {
		case <-s.closed:
		case <-s.over:
		case <-s.slow:
			_ = put(p.rest)
			select {
			case <-s.closed:
			case <-s.over:
			}
		}
	}
	_ = s.conn.CloseWrite() // and no close frame, to which a closed socket would answer with a reset
}

func (s *session) read(p *probe, most int) {
	for s.wrong == "" && (len(p.fails) == 0 || len(s.said) <= most) {
		_ = s.conn.SetDeadline(time.Now().Add(s.patience))
		b0, payload, err := s.readFrame()
		switch {
		case err == nil:
			s.take(b0, payload)
		case errors.Is(err, os.ErrDeadlineExceeded) && p.rest != nil && !s.tardy:
			s.tardy = true
			close(s.slow)
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.end = confPatienceErr
			return
		case errors.Is(err, io.EOF):
			s.end = "eof"
			return
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			s.end = "reset"
			return
		default:
			s.end = err.Error()
			return
		}
	}
	s.end = "given up"
}

func (s *session) objects(format string, args ...any) {
	if s.wrong == "" {
		s.wrong = fmt.Sprintf(format, args...)
	}
}

// readFrame reads a frame whose header a client must accept.
func (s *session) readFrame() (b0 byte, payload []byte, err error) {
	head, err := s.bytes(2)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if errors.Is(err, io.EOF) {
			err = errors.New("eof inside a frame")
		}
	}()
	b0 = head[0]
	if s.turned {
		s.raw[len(s.raw)-1] &= 0x7f // as if it were a server's
	}
	length := uint64(head[1] & 0x7f)
	if masked := head[1]&0x80 != 0; masked != s.turned {
		s.objects("a frame that is masked: %v (§5.1)", masked)
		return b0, nil, nil
	}
	least := uint64(0)
	switch size := length; size {
	case 126, 127:
		least = 126
		n := 2
		if size == 127 {
			least, n = 0x10000, 8
		}
		more, err := s.bytes(n)
		if err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(append(make([]byte, 8-n), more...))
	}
	if length < least {
		s.objects("a length that is not minimally encoded (§5.2)")
		return b0, nil, nil
	}
	if length > 1<<24 {
		s.objects("a frame of %d bytes", length)
		return b0, nil, nil
	}
	if s.turned {
		return s.unmask(b0, int(length))
	}
	payload, err = s.bytes(int(length))
	return b0, payload, err
}

// unmask reads the rest of a client's frame, and leaves the key out of raw.
func (s *session) unmask(b0 byte, length int) (byte, []byte, error) {
	size := len(s.raw)
	b, err := s.bytes(4 + length)
	s.raw = s.raw[:size]
	if err != nil {
		return b0, nil, err
	}
	key := [4]byte(b)
	s.keys[key]++
	payload := b[4:]
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	s.raw = append(s.raw, payload...)
	return b0, payload, nil
}

// bytes reads n bytes. Those of a frame that is cut off count as read.
func (s *session) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := io.ReadFull(s.r, b)
	s.raw = append(s.raw, b[:got]...)
	return b, err
}

// take holds a frame against the rules and notes what it says.
func (s *session) take(b0 byte, payload []byte) {
	defer func() { s.events <- struct{}{} }()
	op, fin, rsv := b0&0xf, b0&confFin != 0, b0&0x70
	switch {
	case s.code != 0:
		s.objects("a frame after the close frame (§5.5.1): %#x", b0)
	case op >= 8 && (!fin || rsv != 0 || len(payload) > 125):
		s.objects("a bad control frame (§5.5): %#x, %d bytes", b0, len(payload))
	case op == confClose:
		s.takeClose(payload)
	case op == confPing:
		s.pings = append(s.pings, string(payload))
	case op == confPong:
		s.pongs = append(s.pongs, string(payload))
	case op > confBinary:
		s.objects("an unknown opcode (§5.2): %#x", b0)
	case (op == confContinue) != (s.count > 0):
		s.objects("fragments out of order (§5.4): %#x", b0)
	case rsv&^confRSV1 != 0 || rsv != 0 && (!s.agreed || op == confContinue):
		s.objects("reserved bits (§5.2): %#x", b0)
	default:
		s.takeData(op, fin, rsv != 0, payload)
	}
}

func (s *session) takeClose(payload []byte) {
	defer close(s.closed)
	s.code = 1005
	if len(payload) == 0 {
		return
	}
	if len(payload) == 1 {
		s.objects("a close frame of one byte (§5.5.1)")
		return
	}
	s.code, s.reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	switch {
	case s.code < 1000, s.code >= 1004 && s.code <= 1006, s.code >= 1015 && s.code < 3000, s.code > 4999:
		s.objects("a close frame with %d (§7.4)", s.code)
	case !utf8.ValidString(s.reason):
		s.objects("a close reason that is not UTF-8 (§5.5.1): %q", s.reason)
	}
}

func (s *session) takeData(op byte, fin, rsv1 bool, payload []byte) {
	if s.count == 0 {
		s.openOp, s.rsv1, s.open = op, rsv1, nil
	}
	s.count++
	s.open = append(s.open, payload...)
	if !fin {
		return
	}
	data := s.open
	if s.rsv1 {
		var err error
		if data, err = s.inflate(s.open); err != nil {
			s.objects("a message that cannot be inflated (RFC 7692 §7.2.2): %v", err)
			return
		}
	}
	if s.openOp == confText && !utf8.Valid(data) {
		s.objects("text that is not UTF-8 (§5.6)")
	}
	s.said = append(s.said, said{s.openOp, string(data)})
	s.frames, s.packed, s.wires = append(s.frames, s.count), append(s.packed, s.rsv1), append(s.wires, string(s.open))
	s.count = 0
}

// inflate puts back the tail that a sender must have removed, and wants the stream
// to end with it.
func (s *session) inflate(b []byte) ([]byte, error) {
	in := strings.NewReader(string(b) + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")
	var dict []byte
	if !s.fresh {
		dict = s.history
	}
	out, err := io.ReadAll(flate.NewReaderDict(in, dict))
	if err == nil && in.Len() > 0 {
		err = errors.New("bytes behind its end")
	}
	s.history = append(s.history, out...)
	s.history = s.history[max(0, len(s.history)-1<<15):]
	return out, err
}
