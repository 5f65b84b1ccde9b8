package interceptors_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestJSONCheck(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	in, _ := handled(interceptors.JSONCheck(interceptors.JSONCheckConfig{MaxKeys: 4, MaxValues: 8, Close: true}))
	for _, c := range []struct{ data, wrong string }{
		{`{}`, ""}, {`[]`, ""}, {`"s"`, ""}, {` 7 `, ""}, {`null`, ""}, {`{"a":{"b":[1,2]}}`, ""},
		{`"\"[[[[{:,,,,,,,,,,,,"`, ""}, {`{"\\":1}`, ""},
		{``, "not JSON"}, {`{`, "not JSON"}, {`{}{}`, "not JSON"}, {`{'a':1}`, "not JSON"}, {`"`, "not JSON"}, {`"\`, "not JSON"}, {`"\"`, "not JSON"},
		{`]]]]`, "not JSON"}, {`NaN`, "not JSON"}, {"\x00", "not JSON"},
		{nested(7), ""}, {nested(8), "JSON with more than 8 values"},
		{`{"a":1,"b":2,"c":3,"d":4}`, ""},
		{`{"a":1,"b":2,"c":{"d":4,"e":5}}`, "JSON with more than 4 keys"},
		{`[1,2,3,4,5,6,7]`, ""}, {`[1,2,3,4,5,6,7,8]`, "JSON with more than 8 values"},
	} {
		err := in(t.Context(), text(c.data))
		if c.wrong == "" {
			assert.NoError(t, err, c.data)
		} else {
			assert.Equal(t, interceptors.Refusal{Status: 400, Message: c.wrong, Close: true}, err, c.data)
		}
	}
	require.NoError(t, in(t.Context(), interceptors.Inbound{Type: frame.Binary, Data: []byte("{")}), "binary messages pass it by")
}

func TestJSONCheckDefaults(t *testing.T) {
	zero, _ := handled(interceptors.JSONCheck(interceptors.JSONCheckConfig{}))
	off, _ := handled(interceptors.JSONCheck(interceptors.JSONCheckConfig{MaxDepth: -1, MaxKeys: -1, MaxValues: -1}))
	list := func(n int, of string) string { return "[" + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + "]" }
	for _, c := range []struct{ passes, refused, wrong string }{
		{strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33), "JSON nested deeper than 32"},
		{list(1000, `{"k":0}`), list(1001, `{"k":0}`), "JSON with more than 1000 keys"},
		{list(9999, "0"), list(10_000, "0"), "JSON with more than 10000 values"},
	} {
		require.NoError(t, zero(t.Context(), text(c.passes)))
		require.Equal(t, interceptors.Refuse(400, c.wrong), zero(t.Context(), text(c.refused)))
		require.NoError(t, off(t.Context(), text(c.refused)))
	}
}

func TestJSONCheckObject(t *testing.T) {
	in, _ := handled(interceptors.JSONCheck(interceptors.JSONCheckConfig{Object: true}))
	require.NoError(t, in(t.Context(), text(" \t\r\n{}")))
	for _, other := range []string{`[]`, `"{}"`, `null`, `1`} {
		require.Equal(t, interceptors.Refuse(400, "not a JSON object"), in(t.Context(), text(other)))
	}
}

// What an interceptor before it has made binary is not checked.
func TestJSONCheckOfAnotherType(t *testing.T) {
	change := hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		in.Type = frame.Binary
		return next.Run(ctx, in)
	}}
	in, n := handled(change, interceptors.JSONCheck(interceptors.JSONCheckConfig{}))
	require.NoError(t, in(t.Context(), text("{")))
	assert.Equal(t, 1, *n)
}

func TestJSONCheckAttribute(t *testing.T) {
	var got any
	in := interceptors.NewChain(interceptors.JSONCheck(interceptors.JSONCheckConfig{Attribute: "body"})).
		Inbound(func(_ context.Context, in interceptors.Inbound) error { got, _ = in.Attr("body"); return nil })
	require.NoError(t, in(t.Context(), text(`{"a":[1,null]}`)))
	assert.Equal(t, map[string]any{"a": []any{1.0, nil}}, got)
	require.Equal(t, interceptors.Refuse(400, "JSON with a number that is out of range"), in(t.Context(), text(`1e999`)))
}

// Whatever passes is what encoding/json takes, within the limits as counted on what is
// decoded.
func FuzzJSONCheck(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":null}],"c":"\"{"}`, `[[[]]]`, `"\\"`, `{"a":`, `[,]`, `\"`} {
		f.Add(seed)
	}
	in, _ := handled(interceptors.JSONCheck(interceptors.JSONCheckConfig{MaxDepth: 3, MaxKeys: 3, MaxValues: 6}))
	f.Fuzz(func(t *testing.T, data string) {
		err := in(context.Background(), text(data))
		var value any
		if !json.Valid([]byte(data)) || json.Unmarshal([]byte(data), &value) != nil {
			if !json.Valid([]byte(data)) && err == nil {
				t.Fatalf("%q passed and is not JSON", data)
			}
			return
		}
		depth, values := shape(value)
		if err == nil && (depth > 3 || values > 6) {
			t.Fatalf("%q passed: %d deep, %d values", data, depth, values)
		}
	})
}

// shape returns how deep a decoded value is nested and how many values it holds, itself
// among them.
func shape(value any) (depth, values int) {
	var children []any
	switch v := value.(type) {
	case []any:
		children = v
	case map[string]any:
		for _, c := range v {
			children = append(children, c)
		}
	default:
		return 0, 1
	}
	values = 1
	for _, c := range children {
		d, n := shape(c)
		depth, values = max(depth, d), values+n
	}
	return depth + 1, values
}
