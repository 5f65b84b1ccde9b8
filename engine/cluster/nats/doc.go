// Package nats lets nodes of a cluster share a NATS: its core subjects as a broker
// (cluster.Broker). It refuses to keep messages, and uses no JetStream: what is published
// while a node is away, that node does not get.
package nats
