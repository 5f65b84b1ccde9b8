// Package app serves apps that declare their WebSocket endpoints in a manifest: what
// the paths are, who may connect, how often peers are pinged. Each app has connections
// of its own, which no other app's messages reach, and handlers for JSON messages that
// have a type.
//
// It refuses to authenticate: an interceptor that is given to it does, such as that of
// package auth. It refuses to run a manifest with a mistake in it.
//
// The protocol. Messages are JSON objects in text. A client that has connected gets
//
//	{"type":"connected","app_slug":"…","endpoint":"…","connection_id":"…","authenticated":true,"user_id":"…","connected_at":"…"}
//
// What it sends must have a "type". Whatever is wrong with a message, or happens to its
// handler, is answered and ends nothing:
//
//	{"type":"error","app_slug":"…","message":"…"}
package app
