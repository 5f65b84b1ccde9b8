package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCompare: other bytes, a name that is not there and nothing at all are no agreement.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("a", "1")
	write("b", "2")
	require.NoError(t, writeSums(dir))
	sums := string(read(t, filepath.Join(dir, sumsFile)))
	made, err := sumsOf(dir)
	require.NoError(t, err)
	require.Len(t, made, 2)
	require.NoError(t, compare(sums, made))
	require.NoError(t, compare(sums, made[1:]), "some of them suffice")
	require.Error(t, compare(sums, nil))

	write("b", "3")
	write("c", "4")
	made, err = sumsOf(dir)
	require.NoError(t, err)
	err = compare(sums, made)
	require.ErrorContains(t, err, "b: ")
	require.ErrorContains(t, err, "c: ")
	require.NotContains(t, err.Error(), "a: ")
}

// TestTargets: those of a command line, which must be known.
func TestTargets(t *testing.T) {
	all, err := parseTargets(nil)
	require.NoError(t, err)
	require.Len(t, all, 6)
	some, err := parseTargets([]string{"windows/arm64"})
	require.NoError(t, err)
	require.Equal(t, []target{{"windows", "arm64"}}, some)
	_, err = parseTargets([]string{"plan9/amd64"})
	require.ErrorContains(t, err, "linux/arm64")
}
