package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// schema is CycloneDX's own.
func schema(t *testing.T) *jsonschema.Schema {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	require.NoError(t, err)
	folder := filepath.Join(strings.TrimSpace(string(dir)), "schema")
	c := jsonschema.NewCompiler()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, filepath.Join(folder, name))))
		require.NoError(t, err)
		require.NoError(t, c.AddResource(url, doc))
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	require.NoError(t, err)
	return s
}

// TestBill: it is CycloneDX, names every part with its version, sum and licences, and is the
// same each time.
func TestBill(t *testing.T) {
	p := &program{target: target{"linux", "amd64"}, version: "1.2.3", time: commit, info: &debug.BuildInfo{
		GoVersion: "go1.26.0", Main: debug.Module{Path: module, Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}},
	}}
	parts := []part{
		{path: "std", version: "1.26.0", licences: []string{"BSD-3-Clause"}},
		{path: "example.com/a", version: "v2.0.0", sum: "h1:abc=", licences: []string{"Apache-2.0", "MIT"}},
	}
	text, err := bill(p, parts)
	require.NoError(t, err)
	again, err := bill(p, parts)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))

	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, schema(t).Validate(doc))
	var b struct {
		Metadata struct {
			Timestamp string
			Component struct{ Purl string }
		}
		Components []struct {
			Purl       string
			Licenses   []struct{ License struct{ ID string } }
			Properties []struct{ Name, Value string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &b))
	require.Equal(t, "2026-01-02T03:04:06Z", b.Metadata.Timestamp)
	require.Equal(t, "pkg:golang/"+module+"@v1.2.3", b.Metadata.Component.Purl)
	require.Len(t, b.Components, 2)
	require.Equal(t, "pkg:golang/std@1.26.0", b.Components[0].Purl)
	require.Equal(t, "pkg:golang/example.com/a@v2.0.0", b.Components[1].Purl)
	require.Equal(t, "MIT", b.Components[1].Licenses[1].License.ID)
	require.Equal(t, "h1:abc=", b.Components[1].Properties[0].Value)
}
