// Command gobwas is an echo or fan-out server on plain gobwas/ws, by the low-level
// way of its README: the zero-copy upgrade on the TCP connection itself, without
// net/http, and a goroutine for each connection that reads header and payload,
// unmasks in place and writes. Two things are added to the README's loop, because
// the library leaves buffers to its user: reads go through 4 KiB of bufio, as
// those of its rivals do, instead of three system calls a message, and header and payload
// leave in one write. A fan-out compiles its frame once (ws.CompileFrame).
//
// The library brings no poller; its README has none either, so there is none here.
//
// Package peer says how it is run.
package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/gobwas/ws"

	"github.com/penstock-ws/penstock/bench/peers/peer"
)

func main() {
	peer.Main("gobwas",
		peer.Mode{Name: "echo", Serve: func(ln net.Listener) error { return acceptAll(ln, echo) }},
		peer.Mode{Name: "fanout", Serve: func(ln net.Listener) error { return acceptAll(ln, new(fanout).serve) }},
	)
}

// acceptAll serves each connection on a goroutine of its own, handshake included.
func acceptAll(ln net.Listener, serve func(net.Conn)) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // until the connection ends
			defer conn.Close()
			if _, err := ws.Upgrade(conn); err == nil {
				serve(conn)
			}
		}()
	}
}

// echo answers every frame with itself, so that a fragmented message comes back in fragments.
func echo(conn net.Conn) {
	readAll(conn, func(h ws.Header, payload []byte, reply *frame) error {
		if err := reply.encode(h, payload); err != nil {
			return err
		}
		_, err := conn.Write(reply.bytes)
		return err
	})
}

// fanout sends every message to all connections. The writes of two goroutines do
// not mix: each is a whole frame, and net.Conn makes them one after the other.
type fanout struct{ room peer.Room[net.Conn] }

func (f *fanout) serve(conn net.Conn) {
	f.room.Join(conn)
	defer f.room.Leave(conn)
	readAll(conn, func(h ws.Header, payload []byte, _ *frame) error {
		if !h.Fin || h.OpCode == ws.OpContinuation {
			return errors.New("fragments of two senders would mix")
		}
		compiled, err := ws.CompileFrame(ws.NewFrame(h.OpCode, true, payload))
		if err != nil {
			return err
		}
		// A write that fails is the matter of the connection's reader.
		f.room.Each(func(to net.Conn) { _, _ = to.Write(compiled) })
		return nil
	})
}

const (
	readBuffer   = 4 << 10
	messageLimit = 64 << 20
)

// readAll hands on every data frame until the connection ends, and answers
// control frames. The payload is valid until handle returns; reply is a buffer to use.
func readAll(conn net.Conn, handle func(h ws.Header, payload []byte, reply *frame) error) {
	var (
		r       = bufio.NewReaderSize(conn, readBuffer)
		state   = ws.StateServerSide
		payload []byte
		reply   frame
	)
	for {
		h, err := ws.ReadHeader(r)
		if err != nil || ws.CheckHeader(h, state) != nil || h.Length > messageLimit {
			return
		}
		payload = slices.Grow(payload[:0], int(h.Length))[:h.Length]
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode.IsControl() {
			err = control(conn, h, payload, &reply)
		} else {
			state = state.Clear(ws.StateFragmented)
			if !h.Fin {
				state = state.Set(ws.StateFragmented)
			}
			err = handle(h, payload, &reply)
		}
		if err != nil {
			return
		}
	}
}

// control answers a ping with a pong and a close frame with itself, after which
// the connection is over.
func control(conn net.Conn, h ws.Header, payload []byte, reply *frame) error {
	over := io.EOF
	switch h.OpCode {
	case ws.OpPong:
		return nil
	case ws.OpPing:
		h.OpCode, over = ws.OpPong, nil
	}
	if err := reply.encode(h, payload); err != nil {
		return err
	}
	_, err := conn.Write(reply.bytes)
	return errors.Join(err, over)
}

// frame is an encoded frame, its buffer used again for the next.
type frame struct{ bytes []byte }

// encode makes f a server's frame, which has no mask (RFC 6455 §5.1).
func (f *frame) encode(h ws.Header, payload []byte) error {
	h.Masked = false
	f.bytes = f.bytes[:0]
	if err := ws.WriteHeader(f, h); err != nil {
		return err
	}
	f.bytes = append(f.bytes, payload...)
	return nil
}

// Write appends, for the library.
func (f *frame) Write(p []byte) (int, error) {
	f.bytes = append(f.bytes, p...)
	return len(p), nil
}
