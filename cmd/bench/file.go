package bench

import (
	"errors"
	"fmt"
	"os"

	"github.com/penstock-ws/penstock/bench"
)

// file is the JSON file to be. It is created before the run, so that a path
// that cannot be written is not found out after it, and takes its name once it is
// complete, so that an older result is replaced by a whole one or not at all.
type file struct {
	path string
	*os.File
}

// partialSuffix marks a file that is being written.
const partialSuffix = ".partial"

// createFile returns nil for no path: a nil file writes nothing.
func createFile(path string) (*file, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		// A device or a pipe is written to, not replaced. A directory fails here.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, &UsageError{"--json", path, fmt.Sprintf("a file that can be written (%v)", err)}
		}
		return &file{path, f}, nil
	}
	f, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, &UsageError{"--json", path, fmt.Sprintf("a file that can be written (%v)", err)}
	}
	return &file{path, f}, nil
}

// write completes the file.
func (f *file) write(results *bench.File) error {
	if f == nil {
		return nil
	}
	err := errors.Join(results.Write(f.File), f.Close())
	if err == nil && f.Name() != f.path {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(f.path + partialSuffix)
		return fmt.Errorf("--json %s: %w", f.path, err)
	}
	return nil
}

// discard removes what has not been completed; after write it does nothing.
func (f *file) discard() {
	if f == nil || f.Close() != nil {
		return
	}
	if f.Name() != f.path {
		_ = os.Remove(f.Name())
	}
}
