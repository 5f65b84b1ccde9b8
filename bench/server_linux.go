package bench

import (
	"os"
	"syscall"
)

// childAttributes gives a server a process group of its own, out of reach of
// the terminal's Ctrl-C, and has the kernel kill it when its parent dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func terminate(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }
