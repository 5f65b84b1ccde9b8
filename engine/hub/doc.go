// Package hub keeps the connections of an engine together: all of them, those in a
// room, those of a user. It counts and lists them, sends to them, tells when the
// first comes and the last goes, and keeps the history of rooms that ask for it, so
// that a client that comes back gets what it has missed.
//
// It holds no lock while it sends, while it calls the program or while the program
// iterates, and it never waits for a member: one that is congested misses the message
// and is counted or, in a room with a history, gets it later. It refuses to know what
// messages mean.
package hub
