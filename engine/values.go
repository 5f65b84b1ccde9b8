package engine

import (
	"maps"
	"sync"
)

// values are what a program has stored for a connection's life.
type values map[any]any

func (v *values) set(key, value any) {
	if value == nil {
		delete(*v, key)
		return
	}
	if *v == nil {
		*v = make(values)
	}
	(*v)[key] = value
}

// Get returns the value stored under key for the connection's life, or nil.
func (c *Conn) Get(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seldom == nil {
		return nil
	}
	return c.seldom.values[key]
}

// Set stores value under key for the connection's life; nil deletes.
func (c *Conn) Set(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value != nil || c.seldom != nil {
		c.needSeldomLocked().values.set(key, value)
	}
}

// An earlyStore is the interceptors.Store of a connection that does not exist yet.
type earlyStore struct {
	// guarded by mu: a program may keep the request's context
	mu     sync.Mutex
	values values
	taken  bool
}

// Get is Conn.Get.
func (s *earlyStore) Get(key any) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// Set is Conn.Set. Once the connection has begun with the values, it does nothing.
func (s *earlyStore) Set(key, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken {
		s.values.set(key, value)
	}
}

// take returns a copy: the connection has a lock of its own.
func (s *earlyStore) take() values {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return maps.Clone(s.values)
}
