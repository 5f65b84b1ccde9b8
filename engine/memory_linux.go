package engine

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machineMemory returns how much memory the machine has, or what this process's
// cgroup may use if that is less; 0 if it cannot be told.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	limit := int64(info.Totalram) * int64(info.Unit) //nolint:unconvert // their types differ between architectures
	for _, file := range []string{
		"/sys/fs/cgroup/memory.max",                   // version 2, as a container sees its own
		"/sys/fs/cgroup/memory/memory.limit_in_bytes", // version 1
	} {
		if n, ok := readLimit(file); ok && n < limit {
			limit = n
		}
	}
	return limit
}

// readLimit reads a number of bytes; "max" is none.
func readLimit(file string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil && n > 0
}
