package interceptors

import "hash/maphash"

// A fingerprint stands for a string in a table whose memory is to be bounded,
// however long the strings are that a peer may think of. Two strings share one with
// a probability that does not matter at 128 bits, and nobody can look for two that
// do: the hash is keyed with random seeds.
type fingerprint [2]uint64

type fingerprints [2]maphash.Seed

func newFingerprints() fingerprints { return fingerprints{maphash.MakeSeed(), maphash.MakeSeed()} }

func (f fingerprints) of(s string) fingerprint {
	return fingerprint{maphash.String(f[0], s), maphash.String(f[1], s)}
}
