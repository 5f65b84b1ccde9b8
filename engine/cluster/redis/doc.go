// Package redis lets nodes of a cluster share a Redis: its channels as a broker
// (cluster.Broker), its keys as a store of sessions (session.Store). It refuses to keep
// messages: what is published while a node is away, that node does not get.
package redis
