// Package sessiontest is what a session.Store has to do, as a test. It runs against every
// store of the project, and against one of your own. It refuses to start a server: that is
// the caller's part.
package sessiontest
