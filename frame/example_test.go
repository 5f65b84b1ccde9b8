package frame_test

import (
	"fmt"

	"github.com/penstock-ws/penstock/frame"
)

// A server follows a client's stream, whatever pieces it arrives in.
func ExampleScanner() {
	s := frame.NewScanner(&frame.Rules{ExpectMask: true, MaxMessage: 1024})
	for _, piece := range []string{
		"\x81\x85\x37\xfa", "\x21\x3d\x7f\x9f\x4d\x51\x58", // "Hello", RFC 6455 §5.7
		"\x82\xff\xff", // a length that cannot be
	} {
		b := []byte(piece)
		for len(b) > 0 {
			h, n, ok, err := s.Next(b)
			if err != nil {
				fmt.Println(err)
				return
			}
			if ok {
				fmt.Println(h.Opcode, h.Length)
			}
			b = b[n:]
		}
	}
	// Output:
	// text 5
	// frame: length with its top bit set (1002, RFC 6455 §5.2)
}

// A message goes out in frames of at most 4 bytes.
func ExampleFragmenter() {
	f := frame.NewFragmenter(frame.Text, []byte("penstock!"), 4)
	for h, fragment, ok := f.Next(); ok; h, fragment, ok = f.Next() {
		wire := append(frame.AppendHeader(nil, h), fragment...)
		fmt.Printf("%q\n", wire)
	}
	// Output:
	// "\x01\x04pens"
	// "\x00\x04tock"
	// "\x80\x01!"
}

// What to answer a peer with, and what to make of its answer.
func ExampleAppendClose() {
	e := frame.ErrMessageTooBig
	code, reason, err := frame.ParseClose(frame.AppendClose(nil, e.Code, e.Reason))
	fmt.Println(code, "/", reason, "/", err)
	// Output: 1009 message too big / message too big / <nil>
}
