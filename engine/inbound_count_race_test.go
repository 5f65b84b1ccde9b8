//go:build race

package engine

// inboundCount is less under the race detector, where a stream takes forty times
// as long.
const inboundCount = 800
