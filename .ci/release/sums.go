package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sumsFile has the checksums in the form that sha256sum --check reads.
const sumsFile = "SHA256SUMS"

func writeSums(dir string) error {
	sums, err := sumsOf(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(strings.Join(sums, "")), 0o644)
}

// sumsOf returns a line for each file, by name.
func sumsOf(dir string) (lines []string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.Name() == sumsFile {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(text), f.Name()))
	}
	return lines, nil
}

// verify makes targets again, in another folder and with an empty cache, and compares them with
// what SHA256SUMS in dir says.
func verify(root, dir string, list []target) error {
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return fmt.Errorf("there is nothing to compare with: %w", err)
	}
	again, err := os.MkdirTemp("", "penstock-verify")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(again) }()
	cache, err := os.MkdirTemp("", "penstock-cache")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(cache) }()
	if err := pack(root, again, list, []string{"GOCACHE=" + cache}); err != nil {
		return err
	}
	made, err := sumsOf(again)
	if err != nil {
		return err
	}
	return compare(string(sums), made)
}

// compare returns an error for each line that sums does not have.
func compare(sums string, made []string) error {
	var errs []error
	for _, line := range made {
		if !strings.Contains("\n"+sums, "\n"+line) {
			errs = append(errs, fmt.Errorf("%s: built again it has other bytes than %s says", strings.Fields(line)[1], sumsFile))
		}
	}
	if len(made) == 0 {
		errs = append(errs, errors.New("nothing was built again"))
	}
	return errors.Join(errs...)
}
