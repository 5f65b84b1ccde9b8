// Package engine is a WebSocket engine to be embedded in a service: it upgrades
// HTTP requests, runs handlers over what peers send, and gets what the service
// sends to peers that may be slow, broken or hostile.
//
// An [Engine] is an http.Handler. A [Handler] is a struct of callbacks; each gets
// the [Conn] it is about. Sending never blocks and may be done from anywhere.
// Messages of one connection are handled one at a time, in order, on a bounded
// number of workers shared by all connections; a connection whose handler or
// peer is slow is simply not read from, and costs the others nothing.
//
// Under it gws parses frames and calls back; it never touches a socket. What
// goes out is encoded and queued by package backpressure.
//
// The package refuses to know about rooms, users, apps and brokers: they are
// built on it, in packages below this folder.
package engine
