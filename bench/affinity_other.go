//go:build !linux

package bench

import "errors"

var errNoPinning = errors.New("bench: processes can be pinned to CPUs on Linux only")

// CPUs returns the numbers of the CPUs that this process may use; nil where
// processes cannot be pinned.
func CPUs() []int { return nil }

// Pin confines this process to cpus. Not possible here.
func Pin(...int) error { return errNoPinning }

func pinThread(cpus []int) (restore func(), err error) {
	if len(cpus) > 0 {
		return nil, errNoPinning
	}
	return func() {}, nil
}
