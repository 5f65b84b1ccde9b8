// Package enginetest is the test kit of package engine, for those who test the
// handlers, interceptors and clients of their own: a server that accounts for
// everything when its test ends, and peers that behave as badly as they are told to.
//
// [StartMemory] serves without a port, and inside a bubble of testing/synctest in
// virtual time: an idle timeout of a minute takes no time. [Start] and [StartTLS] serve
// loopback ports. A [Client] speaks raw frames and reads only when it is told to; a
// [Link] is a connection in memory whose two directions stall, delay, split and cut what
// passes. engine.Dial connects by Server.NetDial or over a Link.
//
// What returns no error fails the test instead, at once (FailNow), so it belongs to the
// test's own goroutine; what waits for a peer fails it after [Patience]. Functions that
// begin with Try return an error.
//
// The kit refuses to wait by sleeping, to use fixed ports, and to be used by parallel
// tests: goroutines and descriptors are counted for the whole process. What needs no
// connection, such as an interceptor, needs no kit: see the example.
package enginetest
