package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how often handshakes look whether the files have changed.
const checkEvery = time.Second

// A certificate is a pair of files whose contents new connections get. Connections
// that are open keep what they were opened with.
type certificate struct {
	// immutable
	cert, key string
	logger    *slog.Logger

	// atomic
	current atomic.Pointer[tls.Certificate]

	// guarded by mu
	mu      sync.Mutex
	checked time.Time
	seen    [2]os.FileInfo // of the pair that was last read, be it good or broken
}

// loadCertificate reads the pair, which must be good.
func loadCertificate(cert, key string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, logger: logger}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Now()
	var err error
	if c.seen, err = c.stat(); err != nil {
		return nil, err
	}
	return c, c.readLocked()
}

// config is for the listener.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // which WebSocket upgrades (RFC 6455 §4.1)
		GetCertificate: c.get,
	}
}

// get is asked at each handshake. While one reads the files, others get what there is.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		if now := time.Now(); now.Sub(c.checked) >= checkEvery {
			c.checked = now
			c.checkLocked()
		}
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// checkLocked reads the files again if they are others than they were.
func (c *certificate) checkLocked() {
	now, err := c.stat()
	switch {
	case err != nil:
		if c.seen != [2]os.FileInfo{} { // say so once
			c.logger.Error("the certificate cannot be read; the old one stays", "error", err)
		}
		c.seen = [2]os.FileInfo{}
	case !unchanged(c.seen[0], now[0]) || !unchanged(c.seen[1], now[1]):
		c.seen = now // before they are read: what changes meanwhile is noticed
		c.reloadLocked()
	}
}

// reload reads the files, changed or not.
func (c *certificate) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, err := c.stat(); err == nil {
		c.seen = now
	}
	c.reloadLocked()
}

func (c *certificate) reloadLocked() {
	if err := c.readLocked(); err != nil {
		c.logger.Error("the new certificate is of no use; the old one stays", "error", err)
		return
	}
	leaf := c.current.Load().Leaf
	c.logger.Info("certificate read again", "subject", leaf.Subject.String(), "until", leaf.NotAfter)
}

func (c *certificate) readLocked() error {
	pair, err := loadPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.cert, c.key, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		c.logger.Warn("the certificate is not valid now", "from", pair.Leaf.NotBefore, "until", pair.Leaf.NotAfter)
	}
	c.current.Store(&pair)
	return nil
}

// loadPair reads a pair of files, which are not of any size.
func loadPair(cert, key string) (pair tls.Certificate, err error) {
	chain, err := readSmall(cert)
	if err != nil {
		return pair, err
	}
	private, err := readSmall(key)
	if err != nil {
		return pair, err
	}
	return tls.X509KeyPair(chain, private)
}

func (c *certificate) stat() (seen [2]os.FileInfo, err error) {
	cert, err := os.Stat(c.cert)
	key, err2 := os.Stat(c.key)
	if err := errors.Join(err, err2); err != nil {
		return seen, err
	}
	return [2]os.FileInfo{cert, key}, nil
}

func unchanged(a, b os.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
