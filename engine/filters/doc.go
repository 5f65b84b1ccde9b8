// Package filters composes endpoints of named parts: a [Filter] is a set of engine
// hooks and interceptors, a [Constructor] makes one, and a [Registry] knows the
// constructors by name, so that a command line can say which ones are to run.
//
// A filter is nothing that a program could not write against package engine
// directly: the package refuses to be a second mechanism beside handlers and
// interceptors. It has no registry of its own, and nothing registers itself.
package filters
