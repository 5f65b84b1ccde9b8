// Package bench measures WebSocket servers: it loads one over real sockets,
// checks every reply, and tells what the load cost in time and CPU on both sides.
//
// The parts are kept apart. A scenario ([Echo], [Mixed], [Fanout], [Storm], [Idle])
// says what to send, a pacer when; loops drive the connections, a recorder counts what
// comes back, a [Result] holds the raw figures, and a [File] keeps them. Reports are
// made from it afterwards: tables, pages, the [Comparison] of two files.
// [StartServer] runs a server as a child process, so that its CPU can be read
// and no cache, heap or scheduler is shared with the client.
//
// It refuses to measure what it has not verified: a reply or delivery that is lost, doubled,
// out of order or altered is a failure in the Result, never a faster server. It
// knows packages frame and deflate, and nothing else of Penstock, and treats every server alike.
//
// Connections are carried by epoll loops on Linux, because a load generator must
// cost less than what it loads; elsewhere, and over TLS, by goroutines.
package bench
