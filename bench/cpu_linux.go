package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownCPU is this process's clock.
func ownCPU() cpuClock {
	return cpuClock{"clock_gettime", func() cpuReading { return clockTime(unix.CLOCK_PROCESS_CPUTIME_ID) }}
}

// processCPU is the clock of another process on this machine.
//
// The kernel has a CPU clock for each process (clock_getcpuclockid(3)): the same
// nanoseconds that the scheduler charges, where /proc/PID/stat has steps of 10
// ms and /proc/PID/schedstat the main thread only. A thread that is on a CPU at
// this instant is charged up to the last scheduler tick, 1 to 4 ms ago; over
// a window of seconds that is a per mille. Where the clock is refused (some
// sandboxes do) /proc/PID/stat has to do.
func processCPU(pid int) cpuClock {
	if pid <= 0 {
		return noCPU()
	}
	id := int32(^pid<<3 | 2) // CPUCLOCK_SCHED of the whole process
	if clockTime(id).known {
		return cpuClock{"clock_gettime", func() cpuReading { return clockTime(id) }}
	}
	if statTime(pid).known {
		return cpuClock{"/proc/PID/stat, 10 ms steps", func() cpuReading { return statTime(pid) }}
	}
	return noCPU()
}

func clockTime(id int32) cpuReading {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return cpuReading{}
	}
	return cpuReading{t.Nano(), true}
}

// statTime reads utime and stime, fields 14 and 15 of proc_pid_stat(5). They
// count in USER_HZ, which is 100 on every architecture that Go runs on.
func statTime(pid int) cpuReading {
	const tick = 1_000_000_000 / 100
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpuReading{}
	}
	// The second field is the command in parentheses and may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return cpuReading{}
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return cpuReading{}
	}
	return cpuReading{(user + system) * tick, true}
}
