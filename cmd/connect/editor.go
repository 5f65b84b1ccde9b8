package connect

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/term"
)

// An editor edits lines on a terminal and keeps the one that is being typed below
// what is printed meanwhile. Any goroutine may write; one reads.
type editor struct {
	// immutable
	in    *os.File
	out   *os.File
	state *term.State // of the terminal as it was
	t     *term.Terminal
}

// newEditor takes over a terminal until restore. In raw mode Ctrl-C is no signal: it
// calls interrupt.
func newEditor(in, out *os.File, interrupt func()) (*editor, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	keys := struct {
		io.Reader
		io.Writer
	}{keyboard{in, interrupt}, out}
	e := &editor{in: in, out: out, state: state, t: term.NewTerminal(keys, "> ")}
	e.resize()
	return e, nil
}

// Write prints above the line that is being typed.
func (e *editor) Write(p []byte) (int, error) {
	e.resize()
	return e.t.Write(p)
}

// resize follows the window, unless that has no size, as some consoles have none. Asking
// costs less than a signal handler that not every system has.
func (e *editor) resize() {
	if width, height, err := term.GetSize(int(e.out.Fd())); err == nil && width > 0 {
		_ = e.t.SetSize(width, height)
	}
}

// readLines yields what is typed until Ctrl-D.
func (e *editor) readLines(yield func([]byte) bool) error {
	for {
		e.resize()
		text, err := e.t.ReadLine()
		if err != nil && err != term.ErrPasteIndicator {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if !yield([]byte(text)) {
			return nil
		}
	}
}

// leave removes the prompt, for what is printed last.
func (e *editor) leave() {
	e.t.SetPrompt("")
	_, _ = e.t.Write(nil)
}

func (e *editor) restore() { _ = term.Restore(int(e.in.Fd()), e.state) }

// A keyboard is a terminal's input without what the user interrupts with.
type keyboard struct {
	in        io.Reader
	interrupt func()
}

const ctrlC = 3

// errKeys: the line editor has no room for more of an escape sequence, and would ask
// for nothing forever.
var errKeys = errors.New("the terminal sends an escape sequence without an end")

func (k keyboard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, errKeys
	}
	n, err := k.in.Read(p)
	for range bytes.Count(p[:n], []byte{ctrlC}) {
		k.interrupt()
	}
	kept := slices.DeleteFunc(p[:n], func(b byte) bool { return b == ctrlC })
	return len(kept), err
}
