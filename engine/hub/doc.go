// Package hub keeps the connections of an endpoint together, so that a message
// can be sent to all of them: the counting, listing and broadcasting that an
// engine itself refuses to know about.
//
// It never holds a lock while it sends or while a caller iterates, and it never
// waits for a member: one that is congested misses the message and is counted.
package hub
