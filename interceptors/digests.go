package interceptors

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Digests are secrets of which only hashes are kept: none can be printed, and all have
// one length, so that comparing takes a time that depends on their number alone. Find
// may be called by any goroutine while nothing is added.
type Digests [][sha256.Size]byte

// Add adds a secret behind the others.
func (d *Digests) Add(secret string) { *d = append(*d, sha256.Sum256([]byte(secret))) }

// Find compares with every secret, also after one has matched, and returns the position
// of the last that is the same, or -1.
func (d Digests) Find(presented string) int {
	sum, at := sha256.Sum256([]byte(presented)), -1
	for i := range d {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], d[i][:]), i, at)
	}
	return at
}
