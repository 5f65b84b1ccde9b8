// Command penstock serves WebSocket connections, connects to servers of them, and
// measures them.
//
// It only puts commands together: each lives in a package of its own under cmd,
// for other programs to mount.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

func main() {
	err := newRoot().ExecuteContext(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "penstock: %v\n", err)
	}
	os.Exit(exitCode(err))
}

// exitCode is 0 without an error, what the error itself asks for, or 1.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}
