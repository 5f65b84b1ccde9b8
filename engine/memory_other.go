//go:build !linux

package engine

// machineMemory returns 0: it cannot be told here without more dependencies.
func machineMemory() int64 { return 0 }
