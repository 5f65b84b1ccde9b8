// Package penstockprometheus shows an engine to Prometheus: [NewCollector] turns
// Engine.Stats into metrics when it is scraped, and [Timings] is an interceptor that
// keeps histograms of how long messages wait and how long handlers take.
//
// It serves no HTTP, keeps no registry, and starts no goroutine: a program registers
// the collectors where it registers its own. No label has a value that a peer can
// choose.
//
// The folder is called prometheus. The package is not, because whoever uses it
// imports client_golang's package prometheus beside it, for the registry.
package penstockprometheus
