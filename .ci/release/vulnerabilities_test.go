package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// database writes one in govulncheck's form, which knows a single vulnerability: of a
// function that the interceptors call, or of one that they do not.
func database(t *testing.T, symbol string) (url string) {
	dir := t.TempDir()
	const id, at = "GO-0000-0001", "2026-01-01T00:00:00Z"
	type object = map[string]any
	ranges := []object{{"type": "SEMVER", "events": []object{{"introduced": "0"}}}}
	for name, doc := range map[string]any{
		"index/db.json":      object{"modified": at},
		"index/modules.json": []object{{"path": "golang.org/x/time", "vulns": []object{{"id": id, "modified": at}}}},
		"index/vulns.json":   []object{{"id": id, "modified": at}},
		"ID/" + id + ".json": object{
			"schema_version": "1.3.1", "id": id, "modified": at, "published": at, "summary": "made up", "details": "made up",
			"affected": []object{{
				"package": object{"name": "golang.org/x/time", "ecosystem": "Go"}, "ranges": ranges,
				"ecosystem_specific": object{"imports": []object{{"path": "golang.org/x/time/rate", "symbols": []string{symbol}}}},
			}},
		},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		text, err := json.Marshal(doc)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, text, 0o600))
	}
	return "file://" + filepath.ToSlash(dir)
}

// TestVulnerabilities: one in what is called fails, one in what is not does not, and what cannot
// be asked is said.
func TestVulnerabilities(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "govulncheck")
	install := exec.Command("go", "install", "golang.org/x/vuln/cmd/govulncheck@v1.8.0")
	install.Env = append(os.Environ(), "GOFLAGS=", "GOBIN="+filepath.Dir(tool))
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	const nowhere = "HTTPS_PROXY=http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		env   []string
		fails bool
		says  string
	}{
		"called":      {[]string{"VULNDB=" + database(t, "NewLimiter")}, true, "GO-0000-0001"},
		"not called":  {[]string{"VULNDB=" + database(t, "Every")}, false, "No vulnerabilities found"},
		"no database": {[]string{"VULNDB=file:///nonexistent"}, true, "NOT CHECKED, for govulncheck has failed"},
		"out of reach": {[]string{"GOVULNCHECK=" + tool, "VULNDB=", "VULNDB_REQUIRED=", nowhere}, false,
			"NOT CHECKED, for the public database cannot be reached"},
		"out of reach and required": {[]string{"GOVULNCHECK=" + tool, "VULNDB=", "VULNDB_REQUIRED=1", nowhere}, true, "NOT CHECKED"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("bash", "../vulnerabilities", "./interceptors")
			cmd.Env = append(os.Environ(), tc.env...)
			out, err := cmd.CombinedOutput()
			require.Equal(t, tc.fails, err != nil, "%s", out)
			require.Contains(t, string(out), tc.says)
		})
	}
}
