package backpressure_test

import (
	"bytes"
	"fmt"
	"io"
	"net"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A wire makes a Wire of any net.Conn. It cannot know how much a connection takes
// without blocking, so it takes nothing until it may block, on a goroutine that ends
// when the queue is empty.
type wire struct{ conn net.Conn }

func (w wire) Write(bufs [][]byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	b := net.Buffers(bufs)
	n, err := b.WriteTo(w.conn)
	return int(n), err
}

func (w wire) Await(q *backpressure.Queue) { go q.Resume(true) }

// An owner is what a queue belongs to: in package engine, a connection.
type owner struct{ finished chan error }

func (o owner) Notice(backpressure.Notice) {}
func (o owner) Finished(err error)         { o.finished <- err }
func (o owner) Gap(lost backpressure.Lost) (frame.Opcode, []byte) {
	return lost.Class.Gap(lost)
}

// readFrames returns the payloads of the frames of a connection, until it ends.
func readFrames(conn io.Reader, yield func(frame.Opcode, []byte)) {
	for {
		b := make([]byte, 2, frame.MaxHeaderSize)
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		h, _, err := frame.ParseHeader(b) // short frames have short headers
		if err != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return
		}
		yield(h.Opcode, payload)
	}
}

// A queue of a peer that does not read: the oldest messages make room for newer ones,
// and when the peer reads again it is told how many it has missed.
func ExampleClass() {
	prices := &backpressure.Class{
		Name:     "prices",
		Overflow: backpressure.DropOldest,
		Gap: func(lost backpressure.Lost) (frame.Opcode, []byte) {
			return frame.Text, fmt.Appendf(nil, "missed %d", lost.Messages())
		},
	}
	here, peer := net.Pipe()
	o := owner{make(chan error, 1)}
	var q backpressure.Queue
	q.Init(&backpressure.Config{
		HighWater: 30, LowWater: 10, ChunkSize: 1 << 10, CorkSize: 1 << 10,
		Class: prices, Pool: new(frame.Pool), Drops: new(backpressure.Drops),
	}, wire{here}, o)

	first := make([]byte, 1)
	q.Send(backpressure.Message{Opcode: frame.Text, Payload: []byte("price 1")})
	_, _ = peer.Read(first) // of the first frame: from here on it is being written
	for i := 2; i <= 6; i++ {
		q.Send(backpressure.Message{Opcode: frame.Text, Payload: fmt.Appendf(nil, "price %d", i)})
	}
	fmt.Println("pending:", q.Pending())
	q.Close(frame.CloseNormal, "", false)

	readFrames(io.MultiReader(bytes.NewReader(first), peer), func(op frame.Opcode, p []byte) {
		if op == frame.Close {
			fmt.Println("close")
			_ = peer.Close()
			return
		}
		fmt.Printf("%s\n", p)
	})
	fmt.Println("finished:", <-o.finished)
	// Output:
	// pending: 27
	// price 1
	// missed 3
	// price 5
	// price 6
	// close
	// finished: <nil>
}

// A budget bounds what many holders have together. Who holds little is refused last.
func ExampleBudget() {
	budget := backpressure.NewBudget(1 << 20)
	for range 4 {
		budget.Join()
	}
	greedy, modest := backpressure.NewAccount(budget), backpressure.NewAccount(budget)
	for greedy.Fits(64 << 10) {
		greedy.Add(64 << 10)
	}
	fmt.Println("greedy holds", greedy.Held()>>10, "KiB; tight:", budget.Tight())
	fmt.Println("a newcomer may join:", budget.Join())
	fmt.Println("modest gets 16 KiB:", modest.Fits(16<<10))

	greedy.Add(-greedy.Held())
	fmt.Println("four idle connections:", budget.Used()>>10, "KiB")
	// Output:
	// greedy holds 832 KiB; tight: true
	// a newcomer may join: false
	// modest gets 16 KiB: true
	// four idle connections: 64 KiB
}
