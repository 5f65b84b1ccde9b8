//go:build !race

package hub_test

const race = false
