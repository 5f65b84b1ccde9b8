// Package connect is the command "connect": a WebSocket client for terminals and
// pipes. On a terminal it edits lines and shows what comes above them; in a pipe lines
// of standard input are messages, and messages are lines of standard output.
//
// The package reads, shows and decides when to close; package engine does the rest. It
// interprets no message, keeps no history on disk and shows no credentials.
package connect
