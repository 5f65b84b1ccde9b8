package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// A peer whose text was not UTF-8 and that answers the close frame, or has closed right
// behind that text, is not waited for any longer: its frames are in order.
func TestRefusedTextEndsAtOnce(t *testing.T) {
	for _, compress := range []bool{false, true} { // by the engine; the peer has not asked for it
		t.Run(fmt.Sprintf("compress=%t", compress), func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(echo)
				ep.Inline = inline
				s := enginetest.Start(t, engine.Config{Compress: compress, CloseTimeout: time.Minute}, ep)
				for name, behind := range map[string][]byte{
					"nothing": nil, "texts": wire(fText("b"), fText("c")), "close": wire(fText("b"), fClose(1000, "")),
					"a fragment": fStart(confText, "b"), "a part of a frame": fText("bcdefg")[:8],
				} {
					c := s.Dial()
					if inline { // else a violation does not wait for handlers
						c.Write(append(wire(fText("1"), fText("2"), fText("\xff")), behind...))
						require.Equal(t, "1", c.ReadText(), name)
						require.Equal(t, "2", c.ReadText(), name)
					} else {
						c.Write(append(fText("\xff"), behind...))
					}
					code, _ := c.ReadClose()
					require.Equal(t, frame.CloseInvalidPayload, code, name)
					switch name {
					case "close":
					case "a part of a frame":
						c.Write(append(fText("bcdefg")[8:], fClose(1007, "")...))
					default:
						c.SendClose(frame.CloseInvalidPayload, "")
					}
					c.ExpectEOF()
					s.AwaitOpen(0) // long before CloseTimeout
					c.Close()
				}
			})
		})
	}
}

// So it is with whatever else is refused but a violation of the framing: what comes behind it,
// the rest of a frame that is too big among it, is passed over up to the peer's close frame.
func TestRefusedEndsAtOnce(t *testing.T) {
	const limit = 1000
	long, bad := strings.Repeat("x", limit+1), strings.Repeat("x", 50_000)+"\xff"
	for name, row := range map[string]struct {
		cfg  engine.Config
		wire []byte
		code frame.CloseCode
	}{
		"too big":              {engine.Config{MaxMessageBytes: limit}, fText(long), 1009},
		"far too big":          {engine.Config{MaxMessageBytes: limit}, fText(strings.Repeat("x", 200_000)), 1009},
		"too big in fragments": {engine.Config{MaxMessageBytes: limit}, wire(fStart(confText, long[1:]), fMore("x"), fPing(""), fLast("y")), 1009},
		"too many fragments":   {engine.Config{MaxFragments: 2}, wire(fStart(confText, "a"), fMore("b"), fMore("c"), fLast("d")), 1008},
		"too many messages":    {engine.Config{MessagesPerSecond: 1}, wire(fText("a"), fText("b"), fText("c")), 1008},
		"too many bytes":       {engine.Config{BytesPerSecond: 1, MaxMessageBytes: limit}, wire(fText(long[1:]), fText(long[1:])), 1008},
		"too many pings":       {engine.Config{ControlFramesPerSecond: 1}, wire(fPing("a"), fPing("b"), fPong("c")), 1008},
		"not UTF-8, large":     {engine.Config{}, wire(fText(bad), fText("a")), 1007},
		"not UTF-8, at once":   {engine.Config{}, wire(fText("\xff"+bad), fText("a")), 1007},
		"not UTF-8, fragments": {engine.Config{}, wire(fStart(confText, "\xff"), fMore("b"), fLast("c")), 1007},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(func(context.Context, *engine.Conn, engine.Message) error { return nil })
				ep.Inline = inline
				cfg := row.cfg
				cfg.CloseTimeout = time.Minute
				s := enginetest.Start(t, cfg, ep)
				all := wire(row.wire, fBinary("behind"), fStart(confText, "a fragment"))
				ends := func(c *enginetest.Client) {
					code, _ := c.ReadClose()
					require.Equal(t, row.code, code)
					c.ExpectEOF()
					s.AwaitOpen(0) // long before CloseTimeout
					c.Close()
				}
				c := s.Dial()
				c.Write(append(all[:len(all):len(all)], fClose(1000, "")...))
				ends(c)
				for _, cut := range []int{1, 2, 3, 5, 7, 100, 1003, 1009, 20_000, len(all) - 1} {
					if cut >= len(all) {
						continue
					}
					c := s.Dial()
					c.Write(all[:cut])
					time.Sleep(time.Millisecond)
					c.Write(all[cut:])
					c.SendClose(row.code, "")
					ends(c)
				}
				if len(all) < 2*limit+100 {
					c = s.Dial()
					c.WriteSplit(append(all[:len(all):len(all)], fClose(1000, "")...), 1)
					ends(c)
				}
			})
		})
	}
}

// A peer that goes on sending after a refusal is read from slowly, whatever it sends at a
// time: in virtual time its bytes before CloseTimeout are counted.
func TestRefusedFloodIsSlowed(t *testing.T) {
	for piece, perSecond := range map[int]int{100: 1_700_000, 1000: 17_000_000, 4 << 10: 20 << 20} {
		synctest.Test(t, func(t *testing.T) {
			cfg := engine.Config{CloseTimeout: time.Second, ReadBufferBytes: 1 << 20} // a large one is no way round, either
			s := enginetest.StartMemory(t, cfg, onMessage(echo))
			c := s.Dial()
			c.Write(fText("\xff"))
			code, _ := c.ReadClose()
			require.Equal(t, frame.CloseInvalidPayload, code)
			c.Link().Out.SetChunk(piece)
			since := time.Now()
			sent := flood(c, 10*perSecond)
			seconds := time.Since(since).Seconds()
			require.Greater(t, seconds, 0.5)
			require.Less(t, float64(sent), 1.2*seconds*float64(perSecond)+128<<10) // and the Link's buffer
			require.Greater(t, float64(sent), 0.8*seconds*float64(perSecond))
			s.AwaitOpen(0)
		})
	}
}

// flood sends pings until the server has had enough, and returns how many bytes that were, of
// at most so many.
func flood(c *enginetest.Client, most int) (sent int) {
	pings := slices.Concat(slices.Repeat([][]byte{fPing(strings.Repeat("x", 94))}, 39)...)
	for sent < most {
		n, err := c.Conn.Write(pings)
		if sent += n; err != nil {
			break
		}
	}
	return sent
}

// On a socket a flood comes as it is written: small writes are no way round.
func TestRefusedFloodIsSlowedOnSockets(t *testing.T) {
	s := enginetest.Start(t, engine.Config{CloseTimeout: time.Second}, onMessage(echo))
	c := s.Dial()
	c.Write(fText("\xff"))
	code, _ := c.ReadClose()
	require.Equal(t, frame.CloseInvalidPayload, code)
	since := time.Now()
	sent := flood(c, 1<<30)
	seconds := time.Since(since).Seconds()
	require.Less(t, seconds, 5.0, "CloseTimeout is a second")
	require.Less(t, float64(sent), (18+32*max(1, seconds))*(1<<20)) // 18 in the system
	s.AwaitOpen(0)
}
