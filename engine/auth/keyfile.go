package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// mostKeyFile bounds a JWK Set's file, in bytes.
const mostKeyFile = 1 << 20

// soonest is how often at most a token with a key ID that nobody knows has the file read.
const soonest = time.Second

// A keyFile is a JWK Set that is read again when it has changed: on demand, so that
// there is no goroutine for it.
type keyFile struct {
	// immutable
	path   string
	every  time.Duration // negative: never
	fixed  []*key        // besides those in the file
	pinned []Algorithm
	log    *slog.Logger

	// atomic
	current atomic.Pointer[keySet]
	read    atomic.Int64 // when the file was last looked at, in Unix nanoseconds

	// guarded by mu
	mu   sync.Mutex
	sum  [sha256.Size]byte // of what current comes from
	told string            // the last mistake that was logged
}

// poll reads the file if it has not been looked at for as long as it may be, or if the
// clock has been put back. Meanwhile others go on with the keys that there are.
func (f *keyFile) poll(now time.Time, within time.Duration) {
	if f.path == "" || f.every < 0 {
		return
	}
	if now.Sub(time.Unix(0, f.read.Load())).Abs() < within || !f.mu.TryLock() { // others' now may be a little later
		return
	}
	f.read.Store(now.UnixNano())
	err := f.loadLocked()
	mistake := ""
	if err != nil {
		mistake = err.Error()
	}
	tell := mistake != "" && mistake != f.told
	f.told = mistake
	f.mu.Unlock()
	if tell {
		f.log.Error("auth: the JWK Set cannot be read; the keys stay as they are", "file", f.path, "error", err)
	}
}

// load reads the file now.
func (f *keyFile) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read.Store(time.Now().UnixNano())
	return f.loadLocked()
}

// loadLocked replaces current, unless the file is as it was, or broken.
func (f *keyFile) loadLocked() error {
	keys := f.fixed
	var sum [sha256.Size]byte
	if f.path != "" {
		text, err := readRegular(f.path)
		if err != nil {
			return err
		}
		if sum = sha256.Sum256(text); f.current.Load() != nil && sum == f.sum {
			return nil
		}
		more, err := parseJWKS(text, f.pinned)
		if err != nil {
			return fmt.Errorf("auth: JWK Set %s: %w", f.path, err)
		}
		keys = append(keys[:len(keys):len(keys)], more...)
	}
	set, err := newKeySet(keys)
	if err != nil {
		return fmt.Errorf("auth: JWK Set %s: %w", f.path, err)
	}
	f.sum = sum
	f.current.Store(set)
	return nil
}

// readRegular reads a file, not a pipe or device that could block.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("auth: JWK Set: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("auth: JWK Set: %w", &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")})
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("auth: JWK Set: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, mostKeyFile+1))
	if err == nil && len(text) > mostKeyFile {
		err = fmt.Errorf("larger than %d bytes", mostKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("auth: JWK Set %s: %w", path, err)
	}
	return text, nil
}
