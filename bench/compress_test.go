package bench

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Compressed messages are what a foreign implementation inflates, with a number of
// their own each, and what it compresses is compared, however long.
func TestCompress(t *testing.T) {
	for _, tls := range transports() {
		for _, size := range []int{1, 7, 8, 9, 200, 5000, 100_000} {
			for _, plainReplies := range []bool{false, true} {
				handle := func(conn *websocket.Conn) {
					conn.EnableWriteCompression(!plainReplies)
					echoAll(conn)
				}
				e := short(Echo{Connections: 2, InFlight: 3, PayloadBytes: size, Text: true, Compress: true})
				target := serve(t, tls, handle)
				r, err := lively(func(window time.Duration) (*Result, error) {
					e.Duration = max(e.Duration, window)
					return e.Run(t.Context(), target, nil)
				})
				require.NoError(t, err)
				require.Empty(t, r.Failures, "%d bytes", size)
				require.Positive(t, r.Messages)
				if plainReplies {
					require.Equal(t, r.Messages, r.Uncompressed)
				} else {
					require.Zero(t, r.Uncompressed)
				}
			}
		}
	}
}

// A reply that inflates to something else is as wrong as one that came like that.
func TestCompressFails(t *testing.T) {
	for want, answer := range map[FailureKind]func(kind int, message []byte, conn *websocket.Conn) error{
		FailureContent: func(kind int, message []byte, conn *websocket.Conn) error {
			message[len(message)-1] ^= 1
			return conn.WriteMessage(kind, message)
		},
		FailureSize: func(kind int, message []byte, conn *websocket.Conn) error {
			return conn.WriteMessage(kind, append(message, 'x'))
		},
		FailureSequence: func(kind int, message []byte, conn *websocket.Conn) error {
			_ = conn.WriteMessage(kind, message)
			return conn.WriteMessage(kind, message)
		},
	} {
		handle := func(conn *websocket.Conn) {
			conn.EnableWriteCompression(true)
			echoWith(conn, func(_, kind int, message []byte) error { return answer(kind, message, conn) })
		}
		e := short(Echo{Connections: 1, InFlight: 4, PayloadBytes: 300, Compress: true})
		r, err := e.Run(t.Context(), serve(t, false, handle), nil)
		require.NoError(t, err)
		require.Len(t, r.Failures, 1)
		require.Equal(t, want, r.Failures[0].Kind, r.Failures[0].First)
	}
}

// A server that does not compress cannot be measured compressing.
func TestCompressDeclined(t *testing.T) {
	e := short(Echo{Connections: 1, Compress: true})
	_, err := e.Run(t.Context(), bareTarget(t), nil)
	require.ErrorContains(t, err, "does not agree to permessage-deflate")
}
