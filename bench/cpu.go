package bench

// cpuReading is a process's CPU time so far, in nanoseconds, user and system,
// all threads. known is false where it cannot be read.
type cpuReading struct {
	ns    int64
	known bool
}

// cpuClock reads the CPU time of one process.
type cpuClock struct {
	name string // how, for the Result
	read func() cpuReading
}

// noCPU is the clock of a process that nobody can read.
func noCPU() cpuClock {
	return cpuClock{"", func() cpuReading { return cpuReading{} }}
}

// since returns the CPU used from begin to r.
func (r cpuReading) since(begin cpuReading) cpuReading {
	return cpuReading{r.ns - begin.ns, r.known && begin.known}
}

// per shares the CPU out among n messages; nil if either is unknown or zero.
func (r cpuReading) per(n int64) *float64 {
	if !r.known || n == 0 {
		return nil
	}
	share := float64(r.ns) / float64(n)
	return &share
}
