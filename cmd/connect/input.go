package connect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A line of the input, or why there are no more.
type line struct {
	data []byte
	err  error
}

// An input is standard input, read ahead by one line.
type input struct {
	lines <-chan line // closed at the end
	typed bool        // by a person: there are commands, and mistakes are forgiven
}

// startInput starts the goroutine that reads, until the input ends or done is closed;
// but it cannot be called back from a read that has begun.
func startInput(typed bool, done <-chan struct{}, read func(yield func([]byte) bool) error) input {
	lines := make(chan line)
	yield := func(l line) bool {
		select {
		case lines <- l:
			return true
		case <-done:
			return false
		}
	}
	go func() { // ends with the input, or at its next line after done
		defer close(lines)
		if err := read(func(b []byte) bool { return yield(line{data: b}) }); err != nil {
			yield(line{err: err})
		}
	}()
	return input{lines: lines, typed: typed}
}

// readLines yields the lines of r without their ends. An end is \n, and with crlf also
// \r\n. A line is at most limit bytes, so that memory stays bounded.
func readLines(r io.Reader, limit int, crlf bool, yield func([]byte) bool) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		text, err := oneMore(br, limit)
		switch {
		case errors.Is(err, errTooLong):
			return fmt.Errorf("line %d of the input is longer than --max-message-bytes, which is %d", n, limit)
		case err != nil && err != io.EOF:
			return fmt.Errorf("reading the input: %w", err)
		case err == io.EOF && len(text) == 0:
			return nil
		}
		text, ended := bytes.CutSuffix(text, []byte("\n"))
		if ended && crlf {
			text = bytes.TrimSuffix(text, []byte("\r"))
		}
		if !yield(text) || err == io.EOF {
			return nil
		}
	}
}

var errTooLong = errors.New("too long")

// oneMore returns a copy of the next line, its end included.
func oneMore(br *bufio.Reader, limit int) ([]byte, error) {
	var text []byte
	for {
		part, err := br.ReadSlice('\n')
		text = append(text, part...)
		if len(bytes.TrimRight(text, "\r\n")) > limit {
			return nil, errTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// readWhole yields all of r as one message, of at most limit bytes.
func readWhole(r io.Reader, limit int, yield func([]byte) bool) error {
	all, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the input: %w", err)
	case len(all) > limit:
		return fmt.Errorf("the input is larger than --max-message-bytes, which is %d", limit)
	}
	yield(all)
	return nil
}
