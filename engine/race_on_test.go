//go:build race

package engine_test

// raceEnabled: everything takes about ten times as long.
const raceEnabled = true
