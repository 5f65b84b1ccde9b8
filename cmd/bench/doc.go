// Package bench is the command "bench": it puts a WebSocket server under load
// and prints what that cost, with the library of the same name.
//
// Without --url it measures a server of its own: it starts the running
// executable once more, as "serve", so the program that mounts this command has to
// have that one, too. The package parses flags and prints; it measures nothing itself.
package bench
