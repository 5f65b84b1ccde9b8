package app_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/app"
)

func schema(t *testing.T) *jsonschema.Schema {
	text, err := os.ReadFile("../../docs/schema/app-manifest.schema.json")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("manifest", doc))
	s, err := c.Compile("manifest") // against the meta-schema of 2020-12, too
	require.NoError(t, err)
	return s
}

func valid(s *jsonschema.Schema, text string) bool {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	return err == nil && s.Validate(doc) == nil
}

// onlyTheParserSees are the mistakes that a schema cannot express.
var onlyTheParserSees = map[string]bool{
	"field twice": true, "field twice below": true, "endpoint twice": true, "one path twice": true,
}

// The schema refuses what the parser refuses, and nothing else.
func TestSchemaAgrees(t *testing.T) {
	s := schema(t)
	for name, row := range badManifests {
		require.Equal(t, onlyTheParserSees[name], valid(s, row.text), name)
	}
	for text := range authSpellings {
		require.True(t, valid(s, text), text)
	}
	for _, text := range []string{alpha, beta, good, `{"slug":"a","websockets":{"w":{"path":"/w","ping_interval":30.0}}}`} {
		require.True(t, valid(s, text), text)
	}
}

// choose returns an object with some of the fields, each with one of its values.
func choose(r *rand.Rand, fields map[string][]any) map[string]any {
	o := map[string]any{}
	for name, values := range fields {
		if r.IntN(2) == 0 {
			o[name] = values[r.IntN(len(values))]
		}
	}
	return o
}

// So it does with manifests put together at random.
func TestSchemaAgreesAtRandom(t *testing.T) {
	s := schema(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	bools := []any{true, false, true, false, nil, "true"}
	good, bad := 0, 0
	for range 20000 {
		policy := func() any { return choose(r, map[string][]any{"required": bools, "allow_anonymous": bools}) }
		endpoint := choose(r, map[string][]any{
			"description": {"d", "d", "d", 1}, "auth_required": bools, "auth": {policy(), policy(), true},
			"ping_interval": {30, 5, 300, 30.0, 4, 301, 5.5, "30", -30},
		})
		paths := []any{"/ws", "/ws", "/a/b.c", "/...", "/..a", "/.a.", "/-", "/~/_", "", "/", "ws", "/a/", "//a", "/.", "/..", "/a/../b", "/a b", "/ä", "/a\n", 1}
		endpoint["path"] = paths[r.IntN(len(paths))]
		m := choose(r, map[string][]any{"name": {"n", "n", 1}, "$schema": {"s"}, "auth_required": bools, "auth_policy": {policy(), policy(), 1}})
		slugs := []any{"a", "a", "my_app-2", "_", "-a", "A", "", "a\n"}
		m["slug"] = slugs[r.IntN(len(slugs))]
		m["websockets"] = map[string]any{[]string{"w", "w", "w", "W", ""}[r.IntN(5)]: endpoint}
		text, err := json.Marshal(m)
		require.NoError(t, err)
		_, err = app.ParseManifest("random.json", text)
		require.Equal(t, err == nil, valid(s, string(text)), "%s: %v", text, err)
		if err == nil {
			good++
		} else {
			bad++
		}
	}
	require.Greater(t, min(good, bad), 200, "some of either kind")
}
