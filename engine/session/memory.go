package session

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Memory is a Store in the process: it ends with it, and other nodes do not see it. Its
// zero value is ready. Sessions whose time is over are forgotten within about a minute of
// use; it runs no goroutine.
type Memory struct {
	mu    sync.Mutex
	kept  map[string]kept
	swept time.Time
}

type kept struct {
	data []byte
	ends time.Time // zero: never
}

const sweepEvery = time.Minute

// Get is as Store says.
func (m *Memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.kept[key]
	if !ok || k.over(time.Now()) {
		return nil, ErrNotFound
	}
	return append([]byte{}, k.data...), nil
}

func (k kept) over(now time.Time) bool { return !k.ends.IsZero() && !now.Before(k.ends) }

// Set is as Store says.
func (m *Memory) Set(_ context.Context, key string, data []byte, ttl time.Duration) error {
	if err := CheckTTL(ttl); err != nil {
		return err
	}
	now := time.Now()
	k := kept{data: bytes.Clone(data)}
	if ttl > 0 {
		k.ends = now.Add(ttl)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept, m.swept = make(map[string]kept), now
	}
	m.kept[key] = k
	m.sweepLocked(now)
	return nil
}

// sweepLocked forgets what is over, from time to time.
func (m *Memory) sweepLocked(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for key, k := range m.kept {
		if k.over(now) {
			delete(m.kept, key)
		}
	}
}

// Delete is as Store says.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
	return nil
}

// Len returns how many sessions take memory, those included whose time is over and that
// have not been forgotten yet.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kept)
}
