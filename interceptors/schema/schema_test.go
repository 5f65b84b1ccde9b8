package schema_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
	"github.com/penstock-ws/penstock/interceptors/schema"
)

const chat = `{
	"type": "object",
	"properties": {"type": {"const": "say"}, "text": {"type": "string", "maxLength": 10}, "n": {"type": "integer", "minimum": 1}},
	"required": ["type", "text"],
	"additionalProperties": false
}`

func text(s string) interceptors.Inbound {
	return interceptors.Inbound{Type: frame.Text, Final: true, Data: []byte(s)}
}

// run returns the outcome, and what the handler found under "json".
func run(t *testing.T, in interceptors.Inbound, list ...interceptors.Interceptor) (value any, err error) {
	err = interceptors.NewChain(list...).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		value, _ = in.Attr("json")
		return nil
	})(t.Context(), in)
	return value, err
}

func TestSchema(t *testing.T) {
	check, err := schema.New(schema.Config{Schema: []byte(chat)})
	require.NoError(t, err)
	value, err := run(t, text(`{"type":"say","text":"hello"}`), check)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"type": "say", "text": "hello"}, value)
	_, err = run(t, interceptors.Inbound{Type: frame.Binary, Data: []byte{0}}, check)
	require.NoError(t, err, "binary messages pass it by")

	for in, want := range map[string]string{
		`{`:                                     "not JSON, or a number out of range",
		`{} {}`:                                 "not JSON, or a number out of range",
		`[]`:                                    "the message is not as its schema wants it",
		`{"type":"say"}`:                        "the message is not as its schema wants it",
		`{"type":"say","text":"hello, world"}`:  "the message is not as its schema wants it: at /text",
		`{"type":"shout","text":"hello"}`:       "the message is not as its schema wants it: at /type",
		`{"type":"say","text":"","n":0}`:        "the message is not as its schema wants it: at /n",
		`{"type":"say","text":"","n":1e400}`:    "not JSON, or a number out of range",
		`{"type":"say","text":"","n":1e999999}`: "not JSON, or a number out of range",
		`{"type":"say","text":"","n":1e99999999999}`: "not JSON, or a number out of range",
		`{"type":"say","text":"","secret":1}`:        "the message is not as its schema wants it",
	} {
		_, err := run(t, text(in), check)
		assert.Equal(t, interceptors.Refuse(http.StatusBadRequest, want), err, in)
	}
}

// A key of the peer's that is long is not repeated to it.
func TestSchemaLongPlace(t *testing.T) {
	check, err := schema.New(schema.Config{Schema: []byte(`{"additionalProperties": {"type": "string"}}`), Close: true})
	require.NoError(t, err)
	_, err = run(t, text(`{"a/b~c": 1}`), check)
	assert.Equal(t, interceptors.Refusal{Status: 400, Message: "the message is not as its schema wants it: at /a~1b~0c", Close: true}, err)
	_, err = run(t, text(fmt.Sprintf(`{"%s": 1}`, strings.Repeat("k", 200))), check)
	assert.Equal(t, interceptors.Refusal{Status: 400, Message: "the message is not as its schema wants it", Close: true}, err)
}

// What JSONCheck has decoded is not decoded again.
func TestSchemaAfterJSONCheck(t *testing.T) {
	check, err := schema.New(schema.Config{Schema: []byte(chat), Attribute: "json"})
	require.NoError(t, err)
	first := interceptors.JSONCheck(interceptors.JSONCheckConfig{Attribute: "json"})
	value, err := run(t, text(`{"type":"say","text":"hello"}`), first, check)
	require.NoError(t, err)
	assert.Equal(t, "hello", value.(map[string]any)["text"])

	said := text("not even JSON").With("json", map[string]any{"type": "say", "text": "other"})
	_, err = run(t, said, check)
	require.NoError(t, err, "the attribute is what is checked")
}

func TestSchemaMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other.json")
	require.NoError(t, os.WriteFile(file, []byte(`{}`), 0o600))
	for name, s := range map[string]string{
		"empty":        ``,
		"not JSON":     `{`,
		"not a schema": `{"type": 7}`,
		"a file":       `{"$ref": "file://` + file + `"}`,
		"an address":   `{"$ref": "http://127.0.0.1:1/schema.json"}`,
		"nowhere":      `{"$ref": "#/$defs/none"}`,
	} {
		i, err := schema.New(schema.Config{Schema: []byte(s)})
		assert.Error(t, err, name)
		assert.Nil(t, i, name)
	}
	_, err := schema.New(schema.Config{Schema: []byte(`{"$defs": {"s": {"type": "string"}}, "items": {"$ref": "#/$defs/s"}}`)})
	assert.NoError(t, err)
}

func ExampleNew() {
	check, err := schema.New(schema.Config{Schema: []byte(`{"type": "object", "required": ["room"]}`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	handle := interceptors.NewChain(check).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		value, _ := in.Attr("json")
		fmt.Println("joins", value.(map[string]any)["room"])
		return nil
	})
	for _, m := range []string{`{"room": "lobby"}`, `{"rom": "lobby"}`} {
		if refusal, ok := errors.AsType[interceptors.Refusal](handle(context.Background(), text(m))); ok {
			fmt.Println(refusal.Status, refusal.Message)
		}
	}
	// Output:
	// joins lobby
	// 400 the message is not as its schema wants it
}
