package connect

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A printer writes what happens. Any goroutine may call its methods, which wait for
// whoever reads the output; their errors are those of standard output.
type printer struct {
	// immutable
	json, raw bool
	terminal  bool // standard output is one: what could do harm there is quoted
	talks     bool // notices are wanted

	mu    sync.Mutex
	out   io.Writer
	notes io.Writer
}

// An event is a line of --json.
type event struct {
	Time        time.Time `json:"time"`
	Event       string    `json:"event"` // open, message, ping, pong or close
	Type        string    `json:"type,omitempty"`
	Data        *string   `json:"data,omitempty"`
	Base64      *[]byte   `json:"base64,omitempty"` // instead of Data: binary messages, and what is not UTF-8
	Address     string    `json:"address,omitempty"`
	Subprotocol string    `json:"subprotocol,omitempty"`
	Code        int       `json:"code,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Remote      *bool     `json:"remote,omitempty"`
}

func (p *printer) opened(s *engine.Scope) error {
	if p.json {
		return p.event(event{Event: "open", Address: s.RemoteAddr(), Subprotocol: s.Subprotocol()})
	}
	text := "connected to " + s.RemoteAddr()
	if s.Subprotocol() != "" {
		text += ", subprotocol " + s.Subprotocol()
	}
	p.notice(text)
	return nil
}

func (p *printer) message(m engine.Message) error {
	if p.json {
		return p.event(eventOf("message", m.Type, m.Data))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(p.lineLocked(m))
	return err
}

// lineLocked returns a message as it is written, in one piece.
func (p *printer) lineLocked(m engine.Message) []byte {
	switch {
	case p.raw:
		return m.Data
	case !p.terminal:
		return append(m.Data[:len(m.Data):len(m.Data)], '\n') // a copy: Data is borrowed
	case m.Type == frame.Binary:
		return fmt.Appendf(nil, "< binary, %d bytes: %q\n", len(m.Data), m.Data)
	}
	return append([]byte("< "+readable(m.Data)), '\n')
}

// control shows a ping or a pong; took is how long a pong has taken, if that is known.
func (p *printer) control(op frame.Opcode, data []byte, took time.Duration) error {
	if p.json {
		return p.event(eventOf(op.String(), 0, data))
	}
	text := fmt.Sprintf("%v %q", op, data)
	if took > 0 {
		text += fmt.Sprintf(" after %v", took.Round(10*time.Microsecond))
	}
	p.notice(text)
	return nil
}

func (p *printer) closed(end *engine.CloseError) error {
	if p.json {
		return p.event(event{Event: "close", Code: int(end.Code), Reason: end.Reason, Remote: &end.Remote})
	}
	p.notice(closing(end))
	return nil
}

// notice tells the user something, if that is wanted.
func (p *printer) notice(text string) {
	if p.talks && !p.json {
		p.tell(text)
	}
}

// tell tells the user something in any case. That standard error takes it is not
// important enough to end for.
func (p *printer) tell(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.notes, "* "+oneLine(text)+"\n")
}

func eventOf(name string, op frame.Opcode, data []byte) event {
	e := event{Event: name}
	if op != 0 {
		e.Type = op.String()
	}
	if op != frame.Binary && utf8.Valid(data) {
		text := string(data)
		e.Data = &text
	} else {
		e.Base64 = &data
	}
	return e
}

func (p *printer) event(e event) error {
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = io.WriteString(p.out, escapedJSON(string(line))+"\n")
	return err
}
