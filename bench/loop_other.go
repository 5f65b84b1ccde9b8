//go:build !linux

package bench

func (s *session) carriers(conns []*dialed) []func() { return s.goroutines(conns) }
