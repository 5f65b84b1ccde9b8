package engine_test

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// splitTalk is a conversation of frames of all kinds, with a large one of so many bytes,
// and what must come back.
func splitTalk(large int) (stream []byte, echoes []said, pings []string, header int) {
	big := patternString(large)
	head := wire(
		fText("text"), fBinary("\x00\x01\x02"), fText(""), fPing("first"), fPong("nobody asked"),
		fPieces(confText, "a message in pieces", fPing("between"), 5, 5, 12), fBinary(patternString(200)),
	)
	tail := wire(fText("behind"), fStart(confBinary, "one"), fPing("last"), fLast("two"), fClose(1000, ""))
	echoes = []said{
		{confText, "text"}, {confBinary, "\x00\x01\x02"}, {confText, ""}, {confText, "a message in pieces"},
		{confBinary, patternString(200)}, {confBinary, big}, {confText, "behind"}, {confBinary, "onetwo"},
	}
	return wire(head, fBinary(big), tail), echoes, []string{"first", "between", "between", "between", "last"}, len(head)
}

// talk writes pieces, each when the server has read what came before it, and wants the
// echoes, the pongs and the close of a conversation.
func talk(addr, path string, pieces [][]byte, wait bool, echoes []said, pings []string) error {
	s, err := openSession(addr, path, nil, enginetest.Patience)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	wrote := make(chan error, 1)
	go func() { // ends with the pieces, or the session's deadline
		for i, piece := range pieces {
			if i > 0 && wait {
				awaitRead(s.conn)
			}
			if _, err := s.conn.Write(piece); err != nil {
				wrote <- err
				return
			}
		}
		<-s.closed
		wrote <- s.conn.CloseWrite()
	}()
	s.read(new(probe), 0)
	if s.code == 0 {
		_ = s.conn.Close()
		return fmt.Errorf("no close frame, but %s %s behind %v", s.end, s.wrong, s.said)
	}
	switch err := <-wrote; {
	case err != nil:
		return err
	case s.wrong != "" || s.end != "eof" || s.code != 1000:
		return fmt.Errorf("%s %s %d", s.wrong, s.end, s.code)
	case !reflect.DeepEqual(s.said, echoes):
		return fmt.Errorf("said %v", s.said)
	case !reflect.DeepEqual(s.pongs, pings):
		return fmt.Errorf("pongs %q", s.pongs)
	}
	return nil
}

// awaitRead waits until the server, which is in this process, has read all that was
// written.
func awaitRead(c *net.TCPConn) {
	port := c.LocalAddr().(*net.TCPAddr).Port
	for fd := 3; fd < 1<<10; {
		peer, err := unix.Getpeername(fd)
		if addr, ok := peer.(*unix.SockaddrInet4); err != nil || !ok || addr.Port != port {
			fd++
			continue
		}
		if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n == 0 {
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// Wherever a conversation is split in two, and if it comes byte by byte, a loop answers
// as if it had come at once.
func TestLoopSplit(t *testing.T) {
	cfg := oneLoop()
	cfg.CloseTimeout, cfg.ControlFramesPerSecond = enginetest.Patience, -1
	s := enginetest.Start(t, cfg, onMessage(echo))
	s.Handle("/inline", engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
	stream, echoes, pings, header := splitTalk(70_000)
	var cuts []int
	payload, end := header+14, header+14+70_000
	for at := range len(stream) {
		if at <= payload || at >= end || (at-payload)%1401 == 0 || (at-payload)&(at-payload-1) == 0 {
			cuts = append(cuts, at)
		}
	}
	for _, path := range []string{"/", "/inline"} {
		t.Run(path, func(t *testing.T) {
			next := make(chan int, len(cuts))
			for _, at := range cuts {
				next <- at
			}
			close(next)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for at := range next {
						if err := talk(s.Addr(), path, [][]byte{stream[:at], stream[at:]}, true, echoes, pings); err != nil {
							t.Errorf("split at %d: %v", at, err)
							return
						}
					}
				})
			}
			all.Wait()
			require.NoError(t, errors.Join(
				talk(s.Addr(), path, [][]byte{stream}, true, echoes, pings),
				talk(s.Addr(), path, slices.Collect(slices.Chunk(stream, 1)), false, echoes, pings),
			))
			small, echoes, pings, _ := splitTalk(300)
			require.NoError(t, talk(s.Addr(), path, slices.Collect(slices.Chunk(small, 1)), true, echoes, pings))
		})
	}
	s.AwaitOpen(0)
	require.Zero(t, s.Engine.Stats().Violations)
}
