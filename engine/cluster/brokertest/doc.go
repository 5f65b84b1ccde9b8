// Package brokertest is what a cluster.Broker has to do, as tests: Contract for the broker
// by itself, Nodes for nodes that share it. They run against every broker of the project,
// and against one of your own. It refuses to start a broker: that is the caller's part.
package brokertest
