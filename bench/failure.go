package bench

import (
	"fmt"
	"sync"
)

// FailureKind says in which way a connection failed.
type FailureKind uint8

// The ways to fail. Each ends its connection; the others go on, unless it was the
// sender of a fan-out. A delivery of a fan-out is a reply here.
const (
	FailureSequence   FailureKind = iota // a reply was lost, doubled or out of order
	FailureContent                       // a reply's bytes are not those that were sent
	FailureSize                          // a reply has another size than the message
	FailureOpcode                        // a reply has another type than the message
	FailureUnasked                       // a message came that answers none
	FailureProtocol                      // a frame violates RFC 6455
	FailureClosed                        // the server closed the connection
	FailureNetwork                       // reading or writing failed
	FailureUnanswered                    // replies had not come when Settle was over
	failureKinds
)

// String returns the kind's name, as it stands in JSON.
func (k FailureKind) String() string {
	names := [failureKinds]string{
		"sequence", "content", "size", "opcode", "unasked", "protocol", "closed", "network", "unanswered",
	}
	if k < failureKinds {
		return names[k]
	}
	return fmt.Sprintf("FailureKind(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k FailureKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *FailureKind) UnmarshalText(text []byte) error {
	for *k = 0; *k < failureKinds; *k++ {
		if k.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("bench: unknown failure kind %q", text)
}

// Failures are all failures of one kind in a run.
type Failures struct {
	Kind  FailureKind `json:"kind"`
	Count int         `json:"count"` // connections
	First string      `json:"first"` // the first one, in words
}

// failure is what went wrong on one connection.
type failure struct {
	kind FailureKind
	text string
}

func failf(kind FailureKind, format string, args ...any) *failure {
	return &failure{kind, fmt.Sprintf(format, args...)}
}

// failureLog collects the failures of a run from all loops.
type failureLog struct {
	mu     sync.Mutex
	counts [failureKinds]int
	first  [failureKinds]string
}

func (l *failureLog) add(connection int, f *failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[f.kind]++; l.counts[f.kind] == 1 {
		l.first[f.kind] = fmt.Sprintf("connection %d: %s", connection, f.text)
	}
}

func (l *failureLog) list() []Failures {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []Failures{}
	for kind, n := range l.counts {
		if n > 0 {
			list = append(list, Failures{FailureKind(kind), n, l.first[kind]})
		}
	}
	return list
}
