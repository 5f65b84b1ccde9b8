package app

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The schema for editors has the parser's fields, each with a description, and no
// others.
func TestSchemaHasTheFields(t *testing.T) {
	text, err := os.ReadFile("../../docs/schema/app-manifest.schema.json")
	require.NoError(t, err)
	type part struct {
		Properties map[string]struct{ Description string }
		Defs       map[string]json.RawMessage `json:"$defs"`
	}
	decode := func(text []byte) (p part) {
		require.NoError(t, json.Unmarshal(text, &p))
		return p
	}
	top, b := decode(text), new(binder)
	for name, row := range map[string]struct {
		schema part
		fields map[string]field
	}{
		"app":      {top, b.fieldsOfApp(new(Manifest), new(opinion), new(*node))},
		"endpoint": {decode(top.Defs["endpoint"]), b.fieldsOfEndpoint(new(Endpoint), new(opinion))},
		"policy":   {decode(top.Defs["policy"]), b.fieldsOfPolicy(new(opinion))},
	} {
		require.Equal(t, slices.Sorted(maps.Keys(row.fields)), slices.Sorted(maps.Keys(row.schema.Properties)), name)
		for field, p := range row.schema.Properties {
			require.NotEmpty(t, p.Description, "%s of %s", field, name)
		}
	}
}
