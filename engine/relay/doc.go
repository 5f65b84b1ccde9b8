// Package relay is an endpoint with two kinds of peers: workers, which prove by a
// secret that they are, and clients, which see everything that workers say. It knows
// who is online and tells the clients when that changes.
//
// It refuses to relay what is no JSON object, and anything from one client to another.
//
// The protocol. A peer says what it is by the query parameter client_type: client, the
// default, or worker. A worker presents a secret in the header X-Worker-Secret or the
// query parameter token. Then, in text messages:
//
//	"ping"                                     is answered with "pong"
//	"get_worker_status"                        is answered with
//	{"type":"worker_status","online":true}     which clients get at every change, too
//	{…}, from a worker                         goes to all clients as it is
package relay
