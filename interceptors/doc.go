// Package interceptors runs every message of a connection, in either direction,
// through a chain of functions that may look at it, change it, refuse it, or
// act on its outcome.
//
// An [Interceptor] is given a message and the rest of the chain as next. It
// continues by calling next, and what next returns is the outcome: it can be
// timed, logged, or replaced. It stops the message by not calling next. A
// [Chain] runs inbound messages in the order of registration, and outbound
// messages in the reverse order, so that the interceptor nearest to the handler
// is the same one in both directions. Control events (close, ping, pong) run
// through the chain like data.
//
// A message is passed by value and its bytes are borrowed: see [Inbound] and
// [Outbound]. What belongs to one run of the chain (its id, and metadata that
// every interceptor and the handler can reach) is carried by the
// context.Context: see [FromContext].
//
// The package refuses to do I/O (but for the writers of Logging and Dump), to start
// goroutines, and to know connections:
// the engine hands it messages, and does what the outcome says. It never sees a
// part of a message: messages arrive whole. It never writes to a peer by itself:
// a [Refusal] is a value that the engine turns into an answer, and [Reply] is the
// connection's own Send.
package interceptors
