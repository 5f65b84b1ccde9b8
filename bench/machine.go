package bench

import (
	"os"
	"runtime"
	"strings"
)

// Machine is where a Result was measured.
type Machine struct {
	CPU    string `json:"cpu"`  // model name; empty if not known
	CPUs   int    `json:"cpus"` // that the process could use when it started
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Go     string `json:"go"` // the client's
}

// ThisMachine describes the machine that this process runs on.
func ThisMachine() Machine {
	return Machine{
		CPU:    cpuModel(),
		CPUs:   runtime.NumCPU(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"),
		OS:     runtime.GOOS,
		Arch:   runtime.GOARCH,
		Go:     runtime.Version(),
	}
}

// cpuModel reads the first processor's name where there is a /proc.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
