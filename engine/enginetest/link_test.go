package enginetest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linked runs a test in a bubble, with the two ends of a connection.
func linked(t *testing.T, test func(t *testing.T, client, server *Link)) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newLink(memoryAddr, memoryAddr)
		test(t, client, server)
		_, _ = client.Close(), server.Close()
	})
}

func write(t *testing.T, l *Link, s string) {
	t.Helper()
	n, err := l.Write([]byte(s))
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

// read wants one Read to return exactly this.
func read(t *testing.T, l *Link, want string) {
	t.Helper()
	b := make([]byte, 100)
	n, err := l.Read(b)
	require.NoError(t, err)
	require.Equal(t, want, string(b[:n]))
}

func readFails(t *testing.T, l *Link, want error) {
	t.Helper()
	n, err := l.Read(make([]byte, 100))
	require.ErrorIs(t, err, want)
	require.Zero(t, n)
}

func writeFails(t *testing.T, l *Link, want error) {
	t.Helper()
	_, err := l.Write([]byte("x"))
	require.ErrorIs(t, err, want)
}

// began starts something and returns where its end is told.
func began(f func() error) (ended func(t *testing.T) error, over func() bool) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	ended = func(t *testing.T) error { t.Helper(); return <-done }
	over = func() bool { synctest.Wait(); return len(done) == 1 }
	return ended, over
}

func TestLinkBothWays(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		up := []byte("up")
		_, err := client.Write(up)
		require.NoError(t, err)
		copy(up, "??") // the writer may use it again
		write(t, client, " and on")
		write(t, server, "down")
		read(t, server, "up and on")
		read(t, client, "down")
		write(t, client, "one by one")
		b := make([]byte, 3)
		n, err := server.Read(b)
		require.NoError(t, err)
		require.Equal(t, "one", string(b[:n]))
		read(t, server, " by one")
		n, err = server.Read(nil)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// The buffer of a direction is as large as it was made, to the byte.
func TestLinkBuffer(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		client.Out.SetBuffer(4)
		write(t, client, "1234")
		ended, over := began(func() error { write(t, client, "56789"); return nil })
		require.False(t, over())
		require.Equal(t, 4, client.Out.Buffered())
		write(t, server, "the other direction has room")
		read(t, server, "1234")
		require.False(t, over(), "one byte is still without room")
		require.Equal(t, 4, client.Out.Buffered())
		read(t, server, "5678")
		require.True(t, over())
		require.NoError(t, ended(t))
		read(t, server, "9")
		require.Zero(t, client.Out.Buffered())
	})
}

func TestLinkBufferGrows(t *testing.T) {
	linked(t, func(t *testing.T, client, _ *Link) {
		client.Out.SetBuffer(0)
		_, over := began(func() error { write(t, client, "12"); return nil })
		require.False(t, over())
		require.Equal(t, 1, client.Out.Buffered(), "no buffer at all would let nothing pass")
		client.Out.SetBuffer(2)
		require.True(t, over())
	})
}

func TestLinkBufferDefault(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		for _, l := range []*Link{client, server} {
			write(t, l, string(make([]byte, defaultBuffer)))
			require.NoError(t, l.SetWriteDeadline(time.Now().Add(time.Second)))
			writeFails(t, l, os.ErrDeadlineExceeded)
		}
	})
}

// Writes of several goroutines are not mixed, also when none has room at once.
func TestLinkWritesInTurn(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		client.Out.SetBuffer(3)
		var writers sync.WaitGroup
		for _, b := range []byte("abcd") {
			writers.Go(func() { write(t, client, string(bytes.Repeat([]byte{b}, 10))) })
		}
		got := make([]byte, 40)
		_, err := io.ReadFull(server, got)
		require.NoError(t, err)
		writers.Wait()
		for ; len(got) > 0; got = got[10:] {
			require.Equal(t, bytes.Repeat(got[:1], 10), got[:10])
		}
	})
}

func TestLinkDeadlines(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		start := time.Now()
		require.NoError(t, server.SetReadDeadline(start.Add(time.Minute)))
		readFails(t, server, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
		readFails(t, server, os.ErrDeadlineExceeded)
		write(t, client, "here")
		readFails(t, server, os.ErrDeadlineExceeded)
		require.NoError(t, server.SetReadDeadline(time.Time{}))
		read(t, server, "here")

		client.Out.SetBuffer(1)
		require.NoError(t, client.SetDeadline(time.Now().Add(time.Minute)))
		n, err := client.Write([]byte("ab"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 1, n)
		readFails(t, client, os.ErrDeadlineExceeded)
		require.Equal(t, 2*time.Minute, time.Since(start))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	})
}

// A deadline that is set makes what waits already return, and one that is taken away
// does not.
func TestLinkDeadlineMoved(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		ended, over := began(func() error { _, err := server.Read(make([]byte, 1)); return err })
		require.False(t, over())
		require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Minute)))
		require.NoError(t, server.SetReadDeadline(time.Time{}))
		time.Sleep(time.Hour)
		require.False(t, over())
		require.NoError(t, server.SetReadDeadline(time.Unix(1, 0)))
		require.True(t, over())
		require.ErrorIs(t, ended(t), os.ErrDeadlineExceeded)

		client.Out.SetBuffer(1)
		ended, over = began(func() error { _, err := client.Write([]byte("ab")); return err })
		require.False(t, over())
		require.NoError(t, client.SetWriteDeadline(time.Now()))
		require.True(t, over())
		require.ErrorIs(t, ended(t), os.ErrDeadlineExceeded)
	})
}

func TestLinkCloseWrite(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		write(t, client, "last words")
		require.NoError(t, client.CloseWrite())
		writeFails(t, client, syscall.EPIPE)
		read(t, server, "last words")
		readFails(t, server, io.EOF)
		readFails(t, server, io.EOF)
		write(t, server, "go on")
		read(t, client, "go on")
		require.NoError(t, client.Close())
		require.ErrorIs(t, client.CloseWrite(), net.ErrClosed)
	})
}

func TestLinkClose(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		write(t, client, "last words")
		require.NoError(t, client.Close())
		readFails(t, client, net.ErrClosed)
		writeFails(t, client, net.ErrClosed)
		require.ErrorIs(t, client.Close(), net.ErrClosed)
		require.ErrorIs(t, client.SetDeadline(time.Time{}), net.ErrClosed)
		require.ErrorIs(t, client.SetWriteDeadline(time.Time{}), net.ErrClosed)
		read(t, server, "last words")
		readFails(t, server, io.EOF)
		write(t, server, "into the void: the first write does not learn")
		require.Zero(t, server.Out.Buffered())
		writeFails(t, server, syscall.EPIPE)
		readFails(t, server, io.EOF)
	})
}

// What waits returns when either end is closed.
func TestLinkCloseWakes(t *testing.T) {
	for name, which := range map[string]func(client, server *Link) (*Link, error){
		"own":    func(client, _ *Link) (*Link, error) { return client, net.ErrClosed },
		"remote": func(_, server *Link) (*Link, error) { return server, io.EOF },
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, func(t *testing.T, client, server *Link) {
				closed, want := which(client, server)
				client.Out.SetBuffer(1)
				reading, _ := began(func() error { _, err := client.Read(make([]byte, 1)); return err })
				writing, over := began(func() error { _, err := client.Write([]byte("ab")); return err })
				require.False(t, over())
				_, err := server.Read(make([]byte, 1))
				require.NoError(t, err)
				require.NoError(t, closed.Close())
				require.ErrorIs(t, reading(t), want)
				_ = writing(t) // its byte has room since the read
			})
		})
	}
	linked(t, func(t *testing.T, client, _ *Link) {
		client.Out.SetBuffer(1)
		writing, over := began(func() error { _, err := client.Write([]byte("ab")); return err })
		require.False(t, over())
		require.NoError(t, client.Close())
		require.ErrorIs(t, writing(t), net.ErrClosed)
	})
}

// As a socket's: who closes without having read everything resets.
func TestLinkCloseUnread(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		write(t, client, "last words")
		write(t, server, "unread")
		require.NoError(t, client.Close())
		require.Zero(t, server.Out.Buffered(), "nobody will read it")
		read(t, server, "last words")
		readFails(t, server, syscall.ECONNRESET)
		writeFails(t, server, syscall.ECONNRESET)
	})
}

func TestLinkReset(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		server.Out.SetBuffer(1)
		writing, over := began(func() error { _, err := server.Write([]byte("ab")); return err })
		require.False(t, over())
		write(t, client, "before")
		client.Reset()
		require.ErrorIs(t, writing(t), syscall.ECONNRESET)
		read(t, server, "before")
		readFails(t, server, syscall.ECONNRESET)
		writeFails(t, server, syscall.ECONNRESET)
		readFails(t, client, net.ErrClosed)
		writeFails(t, client, net.ErrClosed)
	})
}

func TestFlowStall(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		client.Out.Stall()
		write(t, client, "later")
		require.NoError(t, client.CloseWrite())
		require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Hour)))
		readFails(t, server, os.ErrDeadlineExceeded)
		require.NoError(t, server.SetReadDeadline(time.Time{}))
		ended, over := began(func() error { read(t, server, "later"); return nil })
		require.False(t, over())
		client.Out.Resume()
		require.True(t, over())
		require.NoError(t, ended(t))
		server.In.Stall()
		_, over = began(func() error { readFails(t, server, io.EOF); return nil })
		require.False(t, over(), "the end is something to read, too")
		server.In.Resume()
		require.True(t, over())
	})
}

func TestFlowDelay(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		start := time.Now()
		client.Out.SetDelay(time.Minute)
		write(t, client, "slow")
		client.Out.SetDelay(time.Second)
		write(t, client, "er")
		require.Equal(t, 6, client.Out.Buffered())
		write(t, server, "the other direction is not")
		read(t, client, "the other direction is not")
		require.Zero(t, time.Since(start))
		read(t, server, "slower")
		require.Equal(t, time.Minute, time.Since(start), "nothing overtakes")
		write(t, client, "x")
		read(t, server, "x")
		require.Equal(t, time.Minute+time.Second, time.Since(start))
		require.NoError(t, client.CloseWrite())
		readFails(t, server, io.EOF)
		require.Equal(t, time.Minute+2*time.Second, time.Since(start), "the end is as slow")
	})
}

func TestFlowChunk(t *testing.T) {
	linked(t, func(t *testing.T, client, server *Link) {
		client.Out.SetChunk(1)
		write(t, client, "abcdef")
		read(t, server, "a")
		read(t, server, "b")
		server.In.SetChunk(2)
		read(t, server, "cd")
		server.In.SetChunk(0)
		read(t, server, "ef")
	})
}

func TestFlowCutAfter(t *testing.T) {
	for name, writes := range map[string][]string{
		"in the middle of a write": {"12345678"},
		"between two":              {"1", "2345", "678"},
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, func(t *testing.T, client, server *Link) {
				write(t, server, "before")
				client.Out.CutAfter(5)
				var n int
				var err error
				for _, s := range writes {
					var k int
					k, err = client.Write([]byte(s))
					n += k
				}
				require.ErrorIs(t, err, syscall.ECONNRESET)
				require.Equal(t, 5, n)
				read(t, server, "12345")
				readFails(t, server, syscall.ECONNRESET)
				writeFails(t, server, syscall.ECONNRESET)
				read(t, client, "before")
				readFails(t, client, syscall.ECONNRESET)
			})
		})
	}
	linked(t, func(t *testing.T, client, server *Link) {
		client.Out.CutAfter(5)
		write(t, client, "12345") // all of it has been written
		writeFails(t, client, syscall.ECONNRESET)
		read(t, server, "12345")
		readFails(t, server, syscall.ECONNRESET)
	})
	linked(t, func(t *testing.T, client, server *Link) {
		client.In.CutAfter(0)
		readFails(t, client, syscall.ECONNRESET)
		readFails(t, server, syscall.ECONNRESET)
		require.NoError(t, client.Close())
	})
}

// Whatever the buffer, the chunks and the delay, what is written is what is read; the
// race detector looks on.
func TestLinkRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	linked(t, func(t *testing.T, client, server *Link) {
		var all sync.WaitGroup
		for i, way := range [][2]*Link{{client, server}, {server, client}} {
			sent := make([]byte, 100_000)
			_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(i)}).Read(sent)
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)))
				for b := sent; len(b) > 0; {
					n := min(len(b), rnd.IntN(3000))
					write(t, way[0], string(b[:n]))
					b = b[n:]
					switch f := way[0].Out; rnd.IntN(5) {
					case 0:
						f.SetBuffer(rnd.IntN(5000))
					case 1:
						f.SetChunk(rnd.IntN(500))
					case 2:
						f.SetDelay(time.Duration(rnd.IntN(1000)))
					case 3:
						f.Stall()
						time.Sleep(time.Duration(rnd.IntN(1000)))
						f.Resume()
					}
				}
				assert.NoError(t, way[0].CloseWrite())
			})
			all.Go(func() {
				got, err := io.ReadAll(way[1])
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(sent, got), "seed %d: %d bytes, %d sent", seed, len(got), len(sent))
			})
		}
		all.Wait()
	})
}

// Nobody accepts: connecting waits as long as it may, and is refused at the end.
func TestMemoryConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := m.connect(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ended, over := began(func() error { _, err := m.connect(t.Context()); return err })
		require.False(t, over())
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
		require.ErrorIs(t, ended(t), syscall.ECONNREFUSED)
		_, err = m.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		m.closeLinks()
		_, err = m.connect(t.Context())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}
