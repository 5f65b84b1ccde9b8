package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config configures [New]. Schema must be set.
type Config struct {
	// Schema is a JSON Schema, of draft 2020-12 unless its $schema says 4, 6, 7 or 2019-09.
	// References may lead to places in itself, and to the standard's own meta-schemas.
	Schema []byte

	// Attribute is the key under which the message carries what it says, decoded as
	// json.Unmarshal does into an any. What JSONCheck has left there is checked, and not
	// decoded again. Default "json".
	Attribute string

	// Close ends the connection after a refusal, with 1008. Default: it goes on.
	Close bool
}

// New returns an interceptor that refuses text messages which are not JSON, or not as the
// schema wants them, with 400 and the place in the message. Binary messages pass it
// by. It returns an error if the schema cannot be used.
//
// Numbers are float64, as in any Go program that decodes into an any: whole ones beyond
// 2^53 are rounded before they are checked, and one beyond 1.8e308 is refused. To bound
// what a message can make of itself in memory, register interceptors.JSONCheck, with the same
// Attribute, before it.
func New(config Config) (interceptors.Interceptor, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema))
	if err != nil {
		return nil, fmt.Errorf("schema: the schema is not JSON: %w", err)
	}
	const here = "penstock:schema"
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	if err := c.AddResource(here, doc); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	compiled, err := c.Compile(here)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if config.Attribute == "" {
		config.Attribute = "json"
	}
	return interceptors.Only(interceptors.InboundText, &checker{schema: compiled, config: config}), nil
}

type nothing struct{}

func (nothing) Load(string) (any, error) {
	return nil, errors.New("only references within the schema are possible")
}

type checker struct {
	interceptors.InboundOnly
	schema *jsonschema.Schema
	config Config
}

// InterceptInbound refuses what is not as the schema wants it.
func (c *checker) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	if in.Type != frame.Text { // an interceptor before this one has changed it
		return next.Run(ctx, in)
	}
	value, decoded := in.Attr(c.config.Attribute)
	if !decoded {
		if json.Unmarshal(in.Data, &value) != nil {
			return c.refuse("not JSON, or a number out of range")
		}
		in = in.With(c.config.Attribute, value)
	}
	if err := c.schema.Validate(value); err != nil {
		return c.refuse("the message is not as its schema wants it" + place(err))
	}
	return next.Run(ctx, in)
}

func (c *checker) refuse(message string) error {
	return interceptors.Refusal{Status: http.StatusBadRequest, Message: message, Close: c.config.Close}
}

// longestPlace bounds how much of a message's own keys is repeated to its sender.
const longestPlace = 100

// place names where the first mistake is, as a JSON pointer.
func place(err error) string {
	mistake, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return ""
	}
	for len(mistake.Causes) > 0 {
		mistake = mistake.Causes[0]
	}
	if len(mistake.InstanceLocation) == 0 {
		return ""
	}
	pointer := ""
	for _, key := range mistake.InstanceLocation {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	if len(pointer) > longestPlace {
		return ""
	}
	return ": at " + pointer
}
