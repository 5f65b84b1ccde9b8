package auth

import "strings"

// tooOpen reports whether a pattern of Config.AllowedOrigins admits pages that nobody
// has named: one whose host has a star that is not followed by a dot and at least two
// labels. "*", "https://*", "*.com" and "*example.com" do; "*.example.com" and
// "localhost:*" do not.
func tooOpen(pattern string) bool {
	_, host, ok := strings.Cut(pattern, "://")
	if !ok {
		host = pattern
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		if !strings.Contains(host[:i], "*") { // a star in the port alone
			return false
		}
		host = host[:i]
	}
	i := strings.LastIndexByte(host, '*')
	if i < 0 {
		return false
	}
	labels := strings.Split(host[i+1:], ".")
	return len(labels) < 3 || labels[0] != "" || labels[1] == "" || labels[2] == ""
}
