//go:build !linux

package bench

import (
	"os"
	"syscall"
)

func childAttributes() *syscall.SysProcAttr { return nil }

// terminate asks p to end, or ends it where it cannot be asked.
func terminate(p *os.Process) {
	if p.Signal(syscall.SIGTERM) != nil {
		_ = p.Kill()
	}
}
