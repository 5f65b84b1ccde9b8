package deflate_test

import (
	"fmt"
	"strings"

	"github.com/penstock-ws/penstock/frame/deflate"
)

// A server agrees with a browser, and both send a message.
func Example() {
	p, answer, ok, err := deflate.Negotiate([]string{"permessage-deflate; client_max_window_bits; server_max_window_bits=12"})
	fmt.Println(answer, ok, err)

	message := strings.Repeat("Hello, penstock! ", 20)
	wire := deflate.AppendMessage(nil, []byte(message), 6, p.ServerBits)
	fmt.Println(len(message), "->", len(wire))

	inflated, err := deflate.Inflate(nil, wire, 1<<20, 100, nil)
	fmt.Println(string(inflated) == message, err)
	// Output:
	// permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12 true <nil>
	// 340 -> 23
	// true <nil>
}

// A client checks what the server has made of its offer.
func ExampleAccept() {
	fmt.Println(deflate.Offer)
	fmt.Println(deflate.Accept([]string{"permessage-deflate; server_no_context_takeover; client_max_window_bits=10"}))
	fmt.Println(deflate.Accept([]string{"permessage-deflate"}))
	// Output:
	// permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits
	// {15 10} true <nil>
	// {0 0} false deflate: the server's extensions do not fit the offer: no server_no_context_takeover
}

// A message is compressed as it is produced; each frame takes what there is.
func ExampleWriter() {
	w := deflate.NewWriter(6, 15)
	defer w.Close()
	first := w.Append(nil, []byte("Hello, "))
	second := w.Flush(nil) // the peer can show it now
	last := w.Finish(w.Append(nil, []byte("penstock!")))
	fmt.Println(len(first), len(second) > 4)

	message := append(append(first, second...), last...)
	inflated, err := deflate.Inflate(nil, message, 100, 0, nil)
	fmt.Println(string(inflated), err)
	// Output:
	// 0 true
	// Hello, penstock! <nil>
}

// Room comes from the caller: here in steps of a size class, up to a budget.
func ExampleInflate_grow() {
	budget := 2000
	grow := func(old []byte, need int) []byte {
		class := (need + 1023) / 1024 * 1024
		if class-cap(old) > budget {
			return nil
		}
		budget -= class - cap(old)
		return append(make([]byte, 0, class), old...)
	}
	for _, n := range []int{500, 5000} {
		wire := deflate.AppendMessage(nil, make([]byte, n), 6, 15)
		message, err := deflate.Inflate(nil, wire, 1<<20, 0, grow)
		fmt.Println(len(message), cap(message), err)
	}
	// Output:
	// 500 1024 <nil>
	// 0 0 deflate: no memory for the inflated message
}

// A bomb stops at the limit; the error knows the close code.
func ExampleInflate_limit() {
	bomb := deflate.AppendMessage(nil, make([]byte, 1<<20), 9, 15)
	_, err := deflate.Inflate(nil, bomb, 64<<10, 0, nil)
	fmt.Println(err)
	// Output:
	// frame: message too big (1009, RFC 6455 §7.4.1)
}
