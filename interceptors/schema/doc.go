// Package schema checks text messages against a JSON Schema before a handler sees
// them.
//
// It refuses to read anything but the schema that it is given: a $ref to a file or an
// address is a mistake, found by New. It is apart from package interceptors because it
// needs a library that not everybody wants to compile.
package schema
