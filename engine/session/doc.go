// Package session keeps what a program wants to know of a client for longer than a
// connection lasts: a Store, and one in memory. It refuses to know what is in a session,
// and how a client proves that it is its own.
package session
