//go:build unix && !linux && !darwin && !netbsd && !openbsd

package engine

// writeFDs stands for writev(2), which golang.org/x/sys does not have for these systems. An
// error behind something that has been written shows with the next attempt.
func writeFDs(fd int, bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		written, err := writeFD(fd, b)
		switch {
		case err != nil && n == 0:
			return 0, err
		case err != nil:
			return n, nil
		}
		n += written
		if written < len(b) {
			break
		}
	}
	return n, nil
}
