package engine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawLimit is the size up to which a read or write is made without telling the
// scheduler. The descriptors never block, so there is nothing that another
// goroutine should run meanwhile, and the notice and its taking back cost a tenth
// of what an echo costs outside the kernel (BenchmarkRawIO). A larger copy may
// take long enough to keep a garbage collection waiting.
const rawLimit = 32 << 10

// readFD is read(2) for a non-blocking descriptor.
func readFD(fd int, b []byte) (int, error) {
	if len(b) == 0 || len(b) > rawLimit {
		return unix.Read(fd, b)
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, e)
}

// writeFD is write(2) for a non-blocking descriptor.
func writeFD(fd int, b []byte) (int, error) {
	if len(b) == 0 || len(b) > rawLimit {
		return unix.Write(fd, b)
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, e)
}

// epollNow returns how many events there are: none after an error.
func epollNow(fd uintptr, events []unix.EpollEvent) int {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch e {
		case 0:
			return int(n)
		case unix.EINTR:
			continue
		}
		return 0
	}
}

// result avoids an allocation for the errors that are no news.
func result(n uintptr, e syscall.Errno) (int, error) {
	switch e {
	case 0:
		return int(n), nil
	case unix.EAGAIN:
		return -1, unix.EAGAIN
	case unix.EINTR:
		return -1, unix.EINTR
	}
	return -1, e
}
