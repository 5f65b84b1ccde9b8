// Package page is a web page for an engine: to try a connection from a browser, and to
// watch the engine's figures while it runs. It is plain HTML, CSS and JavaScript, is
// compiled in, and loads nothing from elsewhere. "penstock serve" has it at /; a program
// that embeds the engine has it if it asks for it.
//
// It refuses to change anything: the live view only shows. It shows to programs of this
// machine, or to whoever has the token. Nothing on it names a peer or a message.
package page
