package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// The recipes of docs/backpressure.md. In each of them a client does not read for a
// while.

// moreThanKernels is more than two kernels hold for a connection whose one end
// does not read. It is allowed as a message, and still leaves room in the queue.
const moreThanKernels = 8 << 20

var spacious = engine.Config{MaxMessageBytes: moreThanKernels, HighWaterBytes: 2 * moreThanKernels}

// connect starts a server, and one client, which does not read by itself.
func connect(cfg engine.Config, h engine.Handler) (*engine.Conn, *websocket.Conn, func(), error) {
	opened := make(chan *engine.Conn, 1)
	open := h.OnOpen
	h.OnOpen = func(ctx context.Context, c *engine.Conn) error {
		opened <- c
		if open == nil {
			return nil
		}
		return open(ctx, c)
	}
	e, err := engine.New(cfg, engine.Endpoint{Handler: h})
	if err != nil {
		return nil, nil, nil, err
	}
	srv := httptest.NewServer(e)
	ws, err := dial(srv, nil)
	if err != nil {
		srv.Close()
		return nil, nil, nil, err
	}
	stop := func() {
		_ = ws.Close()
		_ = e.Shutdown(context.Background())
		srv.Close()
	}
	return <-opened, ws, stop, nil
}

// printTexts reads to the end and prints the text messages.
func printTexts(ws *websocket.Conn) {
	for {
		kind, message, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if kind == websocket.TextMessage {
			fmt.Println(string(message))
		}
	}
}

// A ticker. Of a symbol only the latest quote is worth having: Key is the symbol. A
// flash is worth nothing when it is late: TTL. A client that keeps up gets all.
func Example_ticker() {
	quotes := &backpressure.Class{Name: "quotes", Overflow: backpressure.DropNewest}
	flashes := &backpressure.Class{Name: "flashes", Overflow: backpressure.DropNewest, TTL: time.Millisecond}
	c, client, stop, err := connect(spacious, engine.Handler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	_ = c.SendBytes(make([]byte, moreThanKernels)) // the history, which the client is slow to read
	for price := range 100 {
		for _, symbol := range []string{"ABC", "XYZ"} {
			quote := fmt.Appendf(nil, "%s %d", symbol, price)
			_ = c.SendWith(engine.SendOptions{Class: quotes, Key: symbol}, frame.Text, quote)
		}
	}
	_ = c.SendWith(engine.SendOptions{Class: flashes}, frame.Text, []byte("ABC is up"))
	time.Sleep(2 * flashes.TTL) // by now nobody wants to know
	_ = c.Close(frame.CloseNormal, "the market is closed")

	printTexts(client)
	stats := c.Engine().Stats()
	fmt.Println(stats.Replaced, "replaced,", stats.DroppedExpired, "expired")
	// Output:
	// ABC 99
	// XYZ 99
	// 198 replaced, 1 expired
}

// A chat room. A member who falls behind misses the oldest messages, and is told
// how many, at the place where they are missing. The others notice nothing.
func Example_chat() {
	chat := &backpressure.Class{
		Name:     "chat",
		Overflow: backpressure.DropOldest,
		Gap: func(lost backpressure.Lost) (frame.Opcode, []byte) {
			return frame.Text, strconv.AppendInt(nil, int64(lost.Messages()), 10)
		},
	}
	e, err := engine.New(engine.Config{HighWaterBytes: 64 << 10, SendClass: chat}, engine.Endpoint{})
	if err != nil {
		fmt.Println(err)
		return
	}
	room := hub.New(e, hub.Config{})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: room.Handler(engine.Handler{})}))
	defer srv.Close()
	quick, err1 := dial(srv, nil)
	slow, err2 := dial(srv, nil)
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return
	}
	const messages = 600
	picture := make([]byte, moreThanKernels/500)
	for range messages {
		_, _ = room.All().Broadcast(context.Background(), frame.Binary, picture)
		_, _, _ = quick.ReadMessage()
	}
	_ = quick.Close()
	go func() { _ = e.Shutdown(context.Background()) }() // what is queued goes out before the close frame
	received, missed := 0, 0
	for {
		kind, message, err := slow.ReadMessage()
		if err != nil {
			break
		}
		if kind == websocket.BinaryMessage {
			received++
		} else {
			n, _ := strconv.Atoi(string(message))
			missed += n
		}
	}
	_ = slow.Close()
	fmt.Println("some are missing:", missed > 0, "- and accounted for:", received+missed == messages)
	// Output:
	// some are missing: true - and accounted for: true
}

// A game. Each state of the world replaces the one before that still waits, in its
// place in the queue; what happens in the world is not replaced, and if it comes to
// that, the oldest is dropped. One encoded message serves all players.
func Example_gameState() {
	world := &backpressure.Class{Name: "world", Overflow: backpressure.DropOldest}
	events := &backpressure.Class{Name: "events", Overflow: backpressure.DropOldest}
	c, client, stop, err := connect(spacious, engine.Handler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	players := func(yield func(*engine.Conn) bool) { yield(c) } // a hub's Conns, usually
	send := func(o engine.SendOptions, text string) {
		p, err := c.Engine().Prepare(frame.Text, []byte(text))
		if err != nil {
			fmt.Println(err)
			return
		}
		engine.Broadcast(context.Background(), players, p.With(o))
	}

	_ = c.SendBytes(make([]byte, moreThanKernels)) // the map, which takes its time
	for tick := range 60 {
		send(engine.SendOptions{Class: world, Key: "world"}, fmt.Sprint("tick ", tick))
		if tick == 20 {
			send(engine.SendOptions{Class: events}, "a door opens")
		}
	}
	_ = c.Close(frame.CloseNormal, "game over")
	printTexts(client)
	// Output:
	// tick 59
	// a door opens
}

// counted is a file that counts what has been read of it.
type counted struct {
	bytes.Reader
	read atomic.Int64
}

func (f *counted) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	f.read.Add(int64(n))
	return n, err
}

// A file transfer, at the pace of the client: the file is read as it is sent. What
// has been read and is not pending has left this machine.
func Example_fileTransfer() {
	file := new(counted)
	file.Reset(make([]byte, moreThanKernels))
	started, sent := make(chan struct{}), make(chan error)
	c, client, stop, err := connect(spacious, engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Go(func(ctx context.Context) { // the worker does not wait
				close(started)
				err := c.SendStream(ctx, frame.Binary, file)
				if err == nil {
					err = c.Drain(ctx, 0) // the kernel has sent it, too
				}
				sent <- err
			})
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	progress := func() int64 { return file.read.Load() - int64(c.PendingBytes()) }

	_ = client.WriteMessage(websocket.TextMessage, []byte("the file, please"))
	<-started
	fmt.Println("complete:", progress() == moreThanKernels)
	_, received, err := client.ReadMessage()
	fmt.Println("received:", len(received), err)
	fmt.Println("sent:", <-sent)
	fmt.Println("complete:", progress() == moreThanKernels)
	// Output:
	// complete: false
	// received: 8388608 <nil>
	// sent: <nil>
	// complete: true
}

// An audit log. Nothing may be missing, so the log waits for its reader, on a
// goroutine of Go. What the reader has acknowledged may be forgotten; no other
// sign that it has arrived is as good.
func Example_auditLog() {
	const entries = 1000
	behind, acknowledged := make(chan struct{}), make(chan string, 1)
	var once sync.Once
	entry := strings.Repeat("x", moreThanKernels/entries)
	_, client, stop, err := connect(engine.Config{HighWaterBytes: 64 << 10}, engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				for n := range entries {
					line := fmt.Appendf(nil, "%d %s", n, entry)
					err := c.Send(frame.Text, line)
					if errors.Is(err, engine.ErrCongested) { // SendWait alone would do
						once.Do(func() { close(behind) })
						err = c.SendWait(ctx, frame.Text, line)
					}
					if err != nil {
						return // go on from what was acknowledged, with the next connection
					}
				}
			})
		},
		OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
			acknowledged <- string(m.Data)
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	<-behind // only now the client begins to read
	for n := range entries {
		_, line, err := client.ReadMessage()
		if number, _, _ := strings.Cut(string(line), " "); err != nil || number != strconv.Itoa(n) {
			fmt.Println("missing:", n, err)
			return
		}
	}
	_ = client.WriteMessage(websocket.TextMessage, fmt.Append(nil, entries))
	fmt.Println("acknowledged:", <-acknowledged)
	// Output:
	// acknowledged: 1000
}
