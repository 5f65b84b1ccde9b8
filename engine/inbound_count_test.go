//go:build !race

package engine

// inboundCount takes two seconds, as long as it may in CI.
const inboundCount = 12_000
