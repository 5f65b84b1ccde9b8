// Package roster knows the servers that are measured against each other, Penstock
// among them: what each is, how it is built and started, and whether it can run here.
//
// It measures nothing and installs no programs. A peer for which this machine lacks
// one is an *AbsentError, which callers report and go on without; Go alone is
// enough for most.
package roster
