package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/penstock-ws/penstock/engine/session"
)

// Sessions is a session.Store in Redis: each a key, with the time to live that Redis
// gives it. They last as long as Redis keeps its data.
type Sessions struct {
	client redis.UniversalClient
	owned  bool
	prefix string
}

// NewSessions returns a store whose keys begin with prefix. The error says what is wrong in
// cfg; whether there is a Redis is not asked. Close it.
func NewSessions(cfg Config, prefix string) (*Sessions, error) {
	client, owned, err := cfg.client()
	if err != nil {
		return nil, err
	}
	return &Sessions{client, owned, prefix}, nil
}

// Close ends the connections.
func (s *Sessions) Close() error {
	if !s.owned {
		return nil
	}
	return s.client.Close()
}

// Get is as session.Store says.
func (s *Sessions) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := s.client.Get(ctx, s.prefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, session.ErrNotFound
	}
	return data, err
}

// Set is as session.Store says.
func (s *Sessions) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := session.CheckTTL(ttl); err != nil {
		return err
	}
	return s.client.Set(ctx, s.prefix+key, data, ttl).Err()
}

// Delete is as session.Store says.
func (s *Sessions) Delete(ctx context.Context, key string) error {
	return s.client.Del(ctx, s.prefix+key).Err()
}
