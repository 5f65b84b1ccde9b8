// Package enginetest is the test kit of package engine: a server on a loopback
// port that accounts for everything when its test ends, and a peer that speaks
// raw frames and may behave as badly as it likes.
//
// It refuses to wait by sleeping, to use fixed ports, and to be used by parallel
// tests: goroutines and descriptors are counted for the whole process.
package enginetest
