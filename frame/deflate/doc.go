// Package deflate is permessage-deflate (RFC 7692) as values: what is offered,
// what is agreed, and the compression of one message.
//
// It never takes over context, in either direction: every message is
// compressed by itself, so a connection holds no compressor between messages,
// one compressed message can go to many peers, and nothing that is sent besides
// (a pong, say) can break the stream.
//
// It refuses to do anything else: no I/O, no goroutines, no connection, no
// limits of its own choosing. No bytes from a peer make it panic, and none make
// it hold more memory than the caller's limit allows.
package deflate
