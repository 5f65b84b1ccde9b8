//go:build !linux

package engine

// A lot is Linux's; see park_linux.go. Elsewhere every connection keeps its goroutine.
type lot struct{}

func newLot(*Engine) *lot { return nil }

func (*lot) parks() bool             { return false }
func (*lot) park(socket, *Conn) bool { return false }
func (*lot) release(socket) *Conn    { return nil }
func (*lot) stop()                   {}
