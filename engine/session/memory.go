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
	// MaxBytes is how much keys and data may take, with 100 for each session; Set returns
	// ErrFull beyond it. Set it before use. Default 64 MiB; negative: any amount.
	MaxBytes int

	mu    sync.Mutex
	kept  map[string]kept
	bytes int
	swept time.Time
}

type kept struct {
	data []byte
	ends time.Time // zero: never
}

const (
	sweepEvery      = time.Minute
	hurryEvery      = time.Second // when it is full
	defaultMaxBytes = 64 << 20
	costOfOne       = 100
)

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
	since := now.Sub(m.swept)
	if since >= sweepEvery || since >= hurryEvery && !m.fitsLocked(key, k) {
		m.sweepLocked(now)
	}
	if !m.fitsLocked(key, k) {
		return ErrFull
	}
	m.forgetLocked(key)
	m.kept[key] = k
	m.bytes += size(key, k)
	return nil
}

// fitsLocked reports whether there is room for a session, in the place of an older one.
func (m *Memory) fitsLocked(key string, k kept) bool {
	most := m.MaxBytes
	if most == 0 {
		most = defaultMaxBytes
	}
	after := m.bytes + size(key, k)
	if old, ok := m.kept[key]; ok {
		after -= size(key, old)
	}
	return most < 0 || after <= most
}

func size(key string, k kept) int { return costOfOne + len(key) + len(k.data) }

// sweepLocked forgets what is over.
func (m *Memory) sweepLocked(now time.Time) {
	m.swept = now
	for key, k := range m.kept {
		if k.over(now) {
			m.forgetLocked(key)
		}
	}
}

func (m *Memory) forgetLocked(key string) {
	if k, ok := m.kept[key]; ok {
		delete(m.kept, key)
		m.bytes -= size(key, k)
	}
}

// Delete is as Store says.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked(key)
	return nil
}

// Len returns how many sessions take memory, those included whose time is over and that
// have not been forgotten yet.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kept)
}
