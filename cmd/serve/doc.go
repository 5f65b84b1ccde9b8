// Package serve is the command "serve": a WebSocket server that runs the filters
// named on its command line. A program that wants filters of its own in it passes
// a registry that knows them; see [Config].
//
// The package turns flags, a configuration file and environment variables into an
// engine's settings, listens, renews its certificate, and ends in good order on a
// signal. It handles no message itself.
package serve
