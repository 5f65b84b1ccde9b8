//go:build screenshots

package page_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/frame"
)

const (
	images  = "../../docs/images"
	largest = 150 << 10
)

// TestScreenshots writes those of the page: "make screenshots". The server is a real one
// with clients that come, talk, read slowly and go, for the minute that the charts show.
func TestScreenshots(t *testing.T) {
	registry := filters.Stock()
	require.NoError(t, registry.Register("guest", guest))
	url := servedWith(t, registry, "-f", "guest", "--max-message-bytes", "65536", "--memory-budget-bytes", "67108864", "--compress")
	ws := "ws" + strings.TrimPrefix(url, "http")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for i := range 24 {
		go talk(ctx, ws, i)
	}
	for i := range 3 {
		go lag(ctx, ws, i)
	}
	b := newTab(t, url)
	time.Sleep(62 * time.Second)
	try(t, b)
	shoot(b, "page-light.png", 1280, 930, "light")
	shoot(b, "page-dark.png", 1280, 930, "dark")
	shoot(b, "page-narrow.png", 390, 1640, "light")
}

// TestScreenshotOfReport writes that of the page that "penstock bench report" makes, of two
// short runs.
func TestScreenshotOfReport(t *testing.T) {
	dir := t.TempDir()
	penstock := filepath.Join(dir, "penstock")
	run := func(name string, args ...string) {
		out, err := exec.Command(name, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("go", "build", "-o", penstock, "../../cmd/penstock")
	report := filepath.Join(dir, "report.html")
	args := []string{"bench", "report"}
	for name, way := range map[string]string{"goroutines": "goroutine", "loops": "epoll"} {
		file := filepath.Join(dir, name+".json")
		run(penstock, "bench", "echo", "--connections", "200", "--duration", "5s", "--rounds", "2", "--set", "WS_IO="+way, "--quiet", "--json", file)
		args = append(args, file)
	}
	slices.Sort(args[2:])
	run(penstock, append(args, "-o", report, "--title", "Echo: goroutines and event loops")...)
	b := newTab(t, "file://"+report)
	shoot(b, "report.png", 1280, 940, "light")
}

// guest echoes, and closes with the code that a message names.
func guest(filters.Env) (filters.Filter, error) {
	var f filters.Filter
	f.Handler.OnMessage = func(_ context.Context, c *engine.Conn, m engine.Message) error {
		var code frame.CloseCode
		if n, _ := fmt.Sscanf(string(m.Data), "close %d", &code); n == 1 {
			return &engine.CloseError{Code: code}
		}
		if m.Type == frame.Text {
			time.Sleep(time.Duration(rand.IntN(len(m.Data)+1)) * 20 * time.Microsecond) // something to work at
		}
		return c.Send(m.Type, m.Data)
	}
	return f, nil
}

// talk is a client that sends in waves, and after a while goes and comes back.
func talk(ctx context.Context, url string, i int) {
	for ctx.Err() == nil {
		ws, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
		if err != nil {
			return
		}
		until := time.Now().Add(time.Duration(5+rand.IntN(25)) * time.Second)
		for time.Now().Before(until) && ctx.Err() == nil {
			wave := 1.2 + math.Sin(float64(time.Now().UnixMilli())/9000+float64(i)/12)
			if ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 40+rand.IntN(900)))) != nil {
				break
			}
			_, _, _ = ws.ReadMessage()
			time.Sleep(time.Duration(60/wave) * time.Millisecond)
		}
		leave(ws)
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Millisecond)
	}
}

// leave ends a connection in one of many ways.
func leave(ws *websocket.Conn) {
	defer ws.Close()
	message := []byte("close 1008")
	switch rand.IntN(10) {
	case 0:
		message = make([]byte, 70000)
	case 1:
	case 2, 3:
		message = []byte("close 4001")
	case 4:
		return
	default:
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		message = nil
	}
	if message != nil {
		_ = ws.WriteMessage(websocket.TextMessage, message)
	}
	_ = ws.SetReadDeadline(time.Now().Add(time.Second))
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			return
		}
	}
}

// lag is a client that sends more than it reads.
func lag(ctx context.Context, url string, i int) {
	ws, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	go func() { // until the connection is closed
		for ws.WriteMessage(websocket.BinaryMessage, make([]byte, 30000)) == nil {
			time.Sleep(3 * time.Millisecond)
		}
	}()
	for ctx.Err() == nil {
		pause := time.Duration(1+math.Sin(float64(time.Now().UnixMilli())/6000+float64(i)*2)) * 9 * time.Millisecond
		time.Sleep(pause)
		if _, _, err := ws.ReadMessage(); err != nil {
			return
		}
	}
}

// try has the page send and receive something to be seen.
func try(t *testing.T, b *tab) {
	file := filepath.Join(t.TempDir(), "valve.bin")
	require.NoError(t, os.WriteFile(file, []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x00\x00\x00\x01\x00\x08\x06"), 0o600))
	b.click("open")
	b.untilText("state", "Connected")
	for _, text := range []string{"Hello, Penstock.", `{"type":"subscribe","channel":"flow"}`} {
		b.fill("text", text)
		b.click("send-text")
	}
	b.do(chromedp.SetUploadFiles(chromedp.ID("file"), []string{file}))
	b.click("send-file")
	b.until("document.querySelectorAll('#log tr.in').length >= 3")
	b.click("measure")
	b.untilText("latency", "median")
	b.click("clear")
	b.fill("text", "Through the gate: 4.2 m³/s")
	b.click("send-text")
	b.do(chromedp.SetUploadFiles(chromedp.ID("file"), []string{file}))
	b.click("send-file")
	b.fill("text", `{"type":"subscribe","channel":"flow"}`)
	b.click("send-text")
	b.until("document.querySelectorAll('#log tr.in').length >= 3")
	b.fill("text", "")
	eval[bool](b, "(document.activeElement.blur(), window.scrollTo(0, 0), true)")
}

func shoot(b *tab, name string, width, height int64, scheme string) {
	b.media("prefers-color-scheme", scheme)
	b.do(chromedp.EmulateViewport(width, height))
	time.Sleep(1500 * time.Millisecond) // it is drawn anew with the next sample
	ctx, cancel := b.within()
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	small := fewColors(b.t, shot)
	b.t.Logf("%s: %d bytes, of %d", name, len(small), len(shot))
	require.Less(b.t, len(small), largest, name)
	require.NoError(b.t, os.WriteFile(filepath.Join(images, name), small, 0o644))
}

// fewColors makes a picture a third of its size: of its colours the 256 that most
// points have, and that differ.
func fewColors(t *testing.T, shot []byte) []byte {
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	points := make(map[color.Color]int)
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			points[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(points), func(a, b color.Color) int { return points[b] - points[a] })
	few := image.NewPaletted(full.Bounds(), apart(colors))
	draw.Draw(few, few.Rect, full, image.Point{}, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	require.NoError(t, encoder.Encode(&out, few))
	return out.Bytes()
}

// apart returns up to 256 of the colours, none of which is hard to tell from another.
func apart(colors []color.Color) (palette color.Palette) {
	for _, c := range colors {
		if len(palette) == 256 {
			break
		}
		if len(palette) < 16 || distance(c, palette[palette.Index(c)]) > 100 {
			palette = append(palette, c)
		}
	}
	return palette
}

func distance(a, b color.Color) (sum int) {
	p, q := color.NRGBAModel.Convert(a).(color.NRGBA), color.NRGBAModel.Convert(b).(color.NRGBA)
	for _, d := range []int{int(p.R) - int(q.R), int(p.G) - int(q.G), int(p.B) - int(q.B)} {
		sum += d * d
	}
	return sum
}
