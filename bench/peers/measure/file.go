package main

import "os"

// partialSuffix marks a file that is being written.
const partialSuffix = ".partial"

// writable finds out whether replaceFile will work, which is better known before
// minutes of measuring than after.
func writable(path string) error {
	if path == "" || special(path) {
		return nil
	}
	f, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// replaceFile writes a file that is whole whenever it is looked at.
func replaceFile(path string, text []byte) error {
	if special(path) {
		return os.WriteFile(path, text, 0o644)
	}
	if err := os.WriteFile(path+partialSuffix, text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+partialSuffix, path)
}

// special reports whether path is a device, a pipe or a folder, which is written
// to, not replaced.
func special(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.Mode().IsRegular()
}
