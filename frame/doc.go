// Package frame is RFC 6455 as values: it encodes and decodes frame headers
// and close payloads, checks a stream of bytes against the protocol's rules,
// cuts messages into fragments, and keeps the buffers that frames travel in.
//
// It refuses to do anything else: no reading or writing, no goroutines, no
// clocks, no logging. No bytes from a peer make it panic, and none make it
// allocate by their announced length; whatever a peer can do wrong is one
// [*Error] out of one table, with the close code that answers it.
//
// What it does not check, because it sees no payload: that text is UTF-8, and
// what a close frame says ([ParseClose] does, once the payload is there).
package frame
