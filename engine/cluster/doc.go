// Package cluster makes the hubs of several processes one: what is published in a room,
// to a user or to all on one node reaches the members on every node, by way of a broker
// that the nodes share. A node knows who is online on the others, until their lease ends.
//
// What a node sends to its own connections never waits for the broker. Between nodes a
// message arrives at most once, in the order in which its node published it in that
// room; what may be missing is told. The package refuses to promise more than that, but
// for rooms with a history and an archive: every member gets their messages once, in one
// order.
package cluster
