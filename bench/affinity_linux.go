package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// CPUs returns the numbers of the CPUs that this process may use; nil where
// processes cannot be pinned.
func CPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	var cpus []int
	for i := range len(set) * strconv.IntSize {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

// Pin confines this process to cpus, with all its threads and those to come,
// and GOMAXPROCS to their number. Children started by StartServer without CPUs of
// their own inherit it.
func Pin(cpus ...int) error {
	set := cpuSet(cpus)
	// A thread started meanwhile by one not yet pinned would be missed, so it is
	// done until a pass finds nothing new.
	seen := map[int]bool{}
	for before := -1; before != len(seen); {
		before = len(seen)
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("bench: pin: %w", err)
		}
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bench: pin to CPU %v: %w", cpus, err)
			}
			seen[tid] = true
		}
	}
	runtime.GOMAXPROCS(len(cpus))
	return nil
}

// pinThread confines the calling thread, to which the goroutine must be locked,
// and what it starts; restore undoes it for the thread alone.
func pinThread(cpus []int) (restore func(), err error) {
	if len(cpus) == 0 {
		return func() {}, nil
	}
	var old unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return nil, err
	}
	set := cpuSet(cpus)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("pin to CPU %v: %w", cpus, err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &old) }, nil
}

func cpuSet(cpus []int) (set unix.CPUSet) {
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return set
}
