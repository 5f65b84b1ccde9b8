package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Scope is what is published to, or what a Gap is in.
type Scope uint8

// The scopes.
const (
	All   Scope = iota + 1 // all connections
	Room                   // the members of a room
	User                   // the connections of a user
	Plain                  // a plain channel
)

// String returns the scope's name as it stands in the names of channels.
func (s Scope) String() string {
	switch s {
	case All:
		return "all"
	case Room:
		return "room"
	case User:
		return "user"
	case Plain:
		return "plain"
	}
	return fmt.Sprintf("Scope(%d)", uint8(s))
}

// channel returns the name of the channel for a scope, such as penstock.room.lobby.
func (n *Node) channel(s Scope, name string) string {
	switch s {
	case All:
		return n.cfg.Prefix + ".all"
	case Plain:
		return name
	}
	escaped := appendEscaped(nil, name)
	if len(escaped) > mostEscaped {
		sum := sha256.Sum256([]byte(name))
		escaped = hex.AppendEncode([]byte("%%"), sum[:])
	}
	return n.cfg.Prefix + "." + s.String() + "." + string(escaped)
}

// mostEscaped is how long a name may be that stands in a channel's; a longer one is
// there as its hash.
const mostEscaped = 800

const hexDigits = "0123456789ABCDEF"

// appendEscaped writes a name so that every broker takes it: what is neither a letter, a
// digit, '-' nor '_' as %XX; nothing as %.
func appendEscaped(dst []byte, name string) []byte {
	if name == "" {
		return append(dst, '%')
	}
	for i := range len(name) {
		switch b := name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return dst
}

// CheckChannel returns an error that says what is wrong with the name of a channel.
func CheckChannel(name string) error {
	if name == "" || len(name) > 1000 {
		return fmt.Errorf("cluster: a channel's name has 1 to 1000 bytes, not %d", len(name))
	}
	for i := range len(name) {
		if b := name[i]; b <= ' ' || b > '~' || b == '*' || b == '>' {
			return fmt.Errorf("cluster: %q is no channel: printable ASCII is allowed, without spaces, '*' and '>'", name)
		}
	}
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return fmt.Errorf("cluster: %q is no channel: a dot stands between two names", name)
	}
	return nil
}
