package interceptors

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"github.com/penstock-ws/penstock/frame"
)

// JSONCheckConfig configures [JSONCheck]. Its zero value lets any JSON pass that is
// not built to hurt.
type JSONCheckConfig struct {
	// MaxDepth is how deep arrays and objects may be nested. Default 32; negative: what
	// encoding/json bears, 10,000.
	MaxDepth int

	// MaxKeys is how many members the objects of a message may have together. Default
	// 1000; negative: no limit.
	MaxKeys int

	// MaxValues is how many values a message may hold, on all levels together: decoded,
	// each takes some 16 to 100 bytes, where on the wire two are enough. Default 10,000;
	// negative: no limit.
	MaxValues int

	// Object lets objects alone pass. Default: any value.
	Object bool

	// Attribute, unless empty, is the key under which the message carries what it says,
	// decoded as json.Unmarshal does into an any, for later interceptors and the
	// handler. Decoding allocates. Default: it is checked and not decoded.
	Attribute string

	// Close ends the connection after a refusal, with 1008. Default: it goes on.
	Close bool
}

// JSONCheck returns an interceptor that refuses text messages which are not JSON, or
// exceed a limit, with 400, before a handler decodes them. Binary messages pass it by.
// The refusal says what was wrong, without repeating any of it.
func JSONCheck(config JSONCheckConfig) Interceptor {
	limit := func(value, otherwise int) int {
		switch {
		case value == 0:
			return otherwise
		case value < 0:
			return math.MaxInt
		}
		return value
	}
	return &jsonCheck{
		depth: limit(config.MaxDepth, 32), keys: limit(config.MaxKeys, 1000), values: limit(config.MaxValues, 10_000),
		object: config.Object, attribute: config.Attribute, close: config.Close,
	}
}

type jsonCheck struct {
	Passthrough
	depth, keys, values int
	object              bool
	attribute           string
	close               bool
}

func (*jsonCheck) kinds() Kinds { return InboundText }

func (j *jsonCheck) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	if in.Type != frame.Text {
		return next.Run(ctx, in)
	}
	if wrong := j.check(in.Data); wrong != "" {
		return Refusal{Status: http.StatusBadRequest, Message: wrong, Close: j.close}
	}
	if j.attribute != "" {
		var value any
		if json.Unmarshal(in.Data, &value) != nil { // a number beyond float64
			return Refusal{Status: http.StatusBadRequest, Message: "JSON with a number that is out of range", Close: j.close}
		}
		in = in.With(j.attribute, value)
	}
	return next.Run(ctx, in)
}

// check returns what is wrong with a message, or "". The limits come first: they cost
// less than the syntax, and what exceeds them need not be read to its end.
func (j *jsonCheck) check(data []byte) string {
	if wrong := j.measure(data); wrong != "" {
		return wrong
	}
	if !json.Valid(data) {
		return "not JSON"
	}
	if j.object && bytes.TrimLeft(data, " \t\r\n")[0] != '{' {
		return "not a JSON object"
	}
	return ""
}

// measure counts what stands outside of strings. In what is not JSON it counts
// something, and check finds the mistake.
func (j *jsonCheck) measure(data []byte) string {
	depth, keys, values := 0, 0, 1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfString(data, i+1)
		case '{', '[':
			depth++
			values++ // the first in it; an empty one counts as well
		case '}', ']':
			depth--
		case ',':
			values++
		case ':':
			keys++
		default:
			continue
		}
		switch {
		case depth > j.depth:
			return fmt.Sprintf("JSON nested deeper than %d", j.depth)
		case keys > j.keys:
			return fmt.Sprintf("JSON with more than %d keys", j.keys)
		case values > j.values:
			return fmt.Sprintf("JSON with more than %d values", j.values)
		}
	}
	return ""
}

// endOfString returns where the quote is that ends the string which goes on at i.
func endOfString(data []byte, i int) int {
	for ; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}
