package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// standIn is a bench/peers whose measure writes what it was called with.
func standIn(t *testing.T, exit string) (root, record string) {
	root = t.TempDir()
	record = filepath.Join(root, "record")
	dir := filepath.Join(root, "bench", "peers", "measure")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "bench", "peers", "go.mod"), []byte("module peers\n\ngo 1.26\n"), 0o600))
	main := "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n\nfunc main() {\n\tos.WriteFile(" + quote(record) +
		", []byte(strings.Join(os.Args[1:], \" \")), 0o600)\n\tos.Stdout.WriteString(\"a table\\n\")\n\tos.Exit(" + exit + ")\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(main), 0o600))
	return root, record
}

func quote(s string) string { return "`" + s + "`" }

// The program is found from any folder of a clone, gets this executable and the
// flags behind --, and its exit status is that of the command.
func TestPeers(t *testing.T) {
	root, record := standIn(t, "0")
	below := filepath.Join(root, "some", "where")
	require.NoError(t, os.MkdirAll(below, 0o700))
	t.Chdir(below)
	got := run(t.Context(), "peers", "--", "-peers", "gws")
	require.NoError(t, got.err, got.stderr)
	require.Equal(t, "a table\n", got.stdout)
	text, err := os.ReadFile(record)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, "-penstock "+self+" -C "+filepath.Join(root, "bench", "peers")+" -peers gws", string(text))

	root, _ = standIn(t, "3")
	got = run(t.Context(), "peers", "--dir", filepath.Join(root, "bench", "peers"))
	require.Equal(t, 3, exitCode(t, got.err))
}

func TestPeersUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	got := run(t.Context(), "peers")
	require.ErrorContains(t, got.err, "in a clone")
	got = run(t.Context(), "peers", "--dir", ".")
	require.ErrorAs(t, got.err, new(*UsageError))
	got = run(t.Context(), "peers", "gws")
	require.ErrorAs(t, got.err, new(*UsageError))
	require.ErrorContains(t, got.err, "behind --")
}
