package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var commit = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

// archives makes one for each kind of system, of files that have just been written.
func archives(t *testing.T) (linux, windows []byte) {
	dir := t.TempDir()
	for _, name := range append(pages, "penstock", "penstock.exe") {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), 0o600))
	}
	for _, p := range []*program{
		{target: target{"linux", "amd64"}, path: filepath.Join(dir, "penstock")},
		{target: target{"windows", "arm64"}, path: filepath.Join(dir, "penstock.exe")},
	} {
		p.version, p.time = "1.2.3", commit
		require.NoError(t, writeArchive(dir, dir, p, []part{{path: "example.com/a", version: "v1", texts: []file{{name: "LICENSE", data: []byte("do as you like")}}}}))
	}
	return read(t, filepath.Join(dir, "penstock_1.2.3_linux_amd64.tar.gz")), read(t, filepath.Join(dir, "penstock_1.2.3_windows_arm64.zip"))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// TestArchivesAreOfTheCommitAlone: neither when nor where files were made shows.
func TestArchivesAreOfTheCommitAlone(t *testing.T) {
	linux, windows := archives(t)
	time.Sleep(2 * time.Second) // as fine as times in a zip are
	linuxAgain, windowsAgain := archives(t)
	require.Equal(t, linux, linuxAgain)
	require.Equal(t, windows, windowsAgain)
}

// TestWhatIsInAnArchive: the program, which can be started, the pages, and the terms of
// others.
func TestWhatIsInAnArchive(t *testing.T) {
	linux, windows := archives(t)
	gz, err := gzip.NewReader(bytes.NewReader(linux))
	require.NoError(t, err)
	r := tar.NewReader(gz)
	modes, last := map[string]int64{}, ""
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Equal(t, commit, h.ModTime.UTC())
		require.Zero(t, h.Uid)
		modes[h.Name] = h.Mode
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		last = string(text)
	}
	const folder = "penstock_1.2.3_linux_amd64/"
	require.Equal(t, map[string]int64{
		folder + "penstock": 0o755, folder + "LICENSE": 0o644, folder + "README.md": 0o644,
		folder + "CHANGELOG.md": 0o644, folder + "THIRD_PARTY_LICENSES.txt": 0o644,
	}, modes)
	require.Contains(t, last, "example.com/a v1, LICENSE")
	require.Contains(t, last, "do as you like")

	z, err := zip.NewReader(bytes.NewReader(windows), int64(len(windows)))
	require.NoError(t, err)
	require.Len(t, z.File, 5)
	require.Equal(t, "penstock_1.2.3_windows_arm64/penstock.exe", z.File[0].Name)
	require.Equal(t, commit, z.File[0].Modified.UTC())
}
