package engine_test

import (
	"fmt"
	"testing"
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
