// Package flagvalue is what the commands' flags have in common: values that say what they allow,
// and the one line about a flag that is wrong. It knows no command and starts nothing.
package flagvalue
