//go:build !linux

package engine

import "time"

// tune does nothing: TCP_NOTSENT_LOWAT and TCP_USER_TIMEOUT are Linux's.
func (kernel) tune(time.Duration) {}

// unsent is not known here.
func (kernel) unsent() (n, lost int) { return 0, 0 }

// unread is not known here.
func (kernel) unread() bool { return false }
