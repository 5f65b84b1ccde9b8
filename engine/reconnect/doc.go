// Package reconnect keeps a client connected: it dials again when the connection has
// ended, waits between attempts so that neither a server that is down nor one that
// comes back is run over, and keeps a bounded number of messages meanwhile, in order.
//
// What becomes of a message that was on its way when its connection ended is a choice,
// [Delivery], because WebSocket has no acknowledgements: without the server's help
// nobody can know whether it has arrived.
//
// It refuses to keep messages beyond the process, to guess whether a message has
// arrived, and to make one stream of what is received on several connections: a
// handler, or a loop around [engine.Conn.Receive], is told of each connection.
package reconnect
