// Package nats lets nodes of a cluster share a NATS: its core subjects as a broker
// (cluster.Broker), and JetStream as an archive of histories (cluster.Archive). It refuses
// to keep what is published without a history: a node that is away does not get that.
package nats
