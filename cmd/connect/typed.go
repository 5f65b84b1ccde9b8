package connect

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-ws/penstock/frame"
)

// A typed line: a message, or one of the commands.
type typed struct {
	message []byte // nil: a command

	ping, close bool
	payload     []byte
	code        frame.CloseCode
	reason      string
}

const commands = "/ping [text], /close [code [reason]], /quit, and //text to send /text"

// parseTyped reads a line that a person has typed. Its error says what is possible.
func parseTyped(text []byte) (typed, error) {
	rest, slash := strings.CutPrefix(string(text), "/")
	switch {
	case !slash:
		return typed{message: text}, nil
	case strings.HasPrefix(rest, "/"):
		return typed{message: []byte(rest)}, nil
	}
	name, argument, _ := strings.Cut(rest, " ")
	switch name {
	case "ping":
		if len(argument) > frame.MaxControlPayload {
			return typed{}, fmt.Errorf("/ping: the text is %d bytes; at most %d are possible", len(argument), frame.MaxControlPayload)
		}
		return typed{ping: true, payload: []byte(argument)}, nil
	case "close":
		return parseClose(argument)
	case "quit":
		return typed{close: true, code: frame.CloseNormal}, nil
	}
	return typed{}, fmt.Errorf("no command /%s: there are %s", name, commands)
}

func parseClose(argument string) (typed, error) {
	t := typed{close: true, code: frame.CloseNormal}
	first, reason, _ := strings.Cut(strings.TrimSpace(argument), " ")
	if first != "" {
		code, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return typed{}, fmt.Errorf("/close: %q is no close code; 1000 to 1003, 1007 to 1014 and 3000 to 4999 are", first)
		}
		t.code, t.reason = frame.CloseCode(code), strings.TrimSpace(reason)
	}
	if err := frame.ValidateClose(t.code, t.reason); err != nil {
		return typed{}, fmt.Errorf("/close: %w", err)
	}
	return t, nil
}
