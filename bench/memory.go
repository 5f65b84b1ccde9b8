package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// residentMemory is what a process of this machine has resident, in bytes, where
// there is a /proc; else 0.
func residentMemory(pid int) int64 {
	if pid <= 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// ReadsMemory reports whether the memory of a process can be read here, which Idle
// needs.
func ReadsMemory() bool { return residentMemory(os.Getpid()) > 0 }
