//go:build race

package hub_test

// race: a race-enabled program may have 8128 goroutines at once.
const race = true
