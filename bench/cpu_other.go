//go:build !linux

package bench

// ownCPU and processCPU read nothing here: CPU figures need Linux.
func ownCPU() cpuClock        { return noCPU() }
func processCPU(int) cpuClock { return noCPU() }
