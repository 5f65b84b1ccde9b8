// Package redis lets nodes of a cluster share a Redis: its channels as a broker
// (cluster.Broker), its keys as an archive of histories (cluster.Archive) and as a store of
// sessions (session.Store). It refuses to keep what is published without a history: a node
// that is away does not get that.
package redis
