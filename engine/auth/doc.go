// Package auth says who a connection belongs to: it takes a token from the opening
// handshake, has it verified, keeps the [Identity] with the connection, and ends the
// connection when the token expires or is revoked.
//
// An [Auth] is made once by [New] and registered by its [Auth.Interceptor], before
// any interceptor that logs payload. Tokens come from [Source] values, in the header, a
// cookie, the query or the offered subprotocols, and are held against verifiers: [JWT]
// and [Secrets], or one of the program's own.
//
// It refuses to issue tokens, to fetch keys over the network, to choose among tokens
// that differ, and to trust a cookie where every page may connect. It logs no token, no
// secret and no key, puts none into an error, and takes the token out of what the
// connection keeps of its handshake.
package auth
