package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A finding is one thing that is wrong when a server has stopped.
type finding struct {
	kind   kind
	detail string
}

// String tells the finding for the test's output.
func (f finding) String() string { return "enginetest: " + f.kind.String() + ": " + f.detail }

type kind int

const (
	unfinished  kind = iota // Serve or Shutdown did not end in good order
	unclosed                // a connection that was opened was not closed, or twice
	disorder                // a callback at the wrong time
	queued                  // bytes still counted as queued
	buffers                 // pooled buffers not given back
	goroutines              // goroutines left
	descriptors             // file descriptors left
)

// String returns what is left in one word.
func (k kind) String() string {
	return [...]string{"unfinished", "unclosed", "disorder", "queued", "buffers", "goroutines", "descriptors"}[k]
}

// holdings is what the process held before a server started, the first of those that run
// at the same time: what is one's goroutine is not another's leak, so that only the last
// to stop can tell what is left.
type holdings struct {
	goroutines goleak.Option
	files      map[string]string
}

// running counts the servers that run, over which there is one account.
var running struct {
	sync.Mutex
	n    int
	held holdings
}

func (s *Server) begins() {
	running.Lock()
	defer running.Unlock()
	if running.n == 0 {
		running.held = takeHoldings(s.t)
	}
	running.n++
	s.before = running.held
}

// ends reports whether s was the last.
func (s *Server) ends() bool {
	running.Lock()
	defer running.Unlock()
	running.n--
	return running.n == 0
}

// takeHoldings has the runtime wait for a descriptor once first: it opens some of its own
// then, and keeps them.
func takeHoldings(t testing.TB) holdings {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, errors.Join(r.Close(), w.Close()))
	return holdings{goroutines: goleak.IgnoreCurrent(), files: openFiles()}
}

// openFiles returns what each descriptor of the process refers to. Where /proc
// does not tell there are none.
func openFiles() map[string]string {
	files := make(map[string]string)
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return files
	}
	for _, name := range names {
		if target, err := os.Readlink("/proc/self/fd/" + name.Name()); err == nil {
			files[name.Name()] = target // the directory itself is closed already
		}
	}
	return files
}

// findings holds everything against what was before; what the process holds only if s is
// the last server.
func (s *Server) findings(last bool) []finding {
	var left error
	if last {
		left = s.goroutinesLeft() // first: one that is about to end may hold a buffer until then
	} else {
		poll(time.Second, func() bool { return s.stats().Buffers == 0 }) // likewise
	}
	list := s.ledger.findings()
	st := s.stats()
	if st.Connections != 0 || st.Opened != sum(st.Closed) {
		list = append(list, finding{unclosed, fmt.Sprintf("Stats say %d open, %d opened, %d closed", st.Connections, st.Opened, sum(st.Closed))})
	}
	if st.Pending != 0 {
		list = append(list, finding{queued, fmt.Sprintf("%d bytes", st.Pending)})
	}
	if st.Buffers != 0 {
		list = append(list, finding{buffers, fmt.Sprintf("%d not given back", st.Buffers)})
	}
	if left != nil {
		list = append(list, finding{goroutines, left.Error()})
	}
	if last {
		if files := s.filesLeft(); len(files) > 0 {
			list = append(list, finding{descriptors, strings.Join(files, ", ")})
		}
	}
	return list
}

func sum[K comparable](counts map[K]uint64) (total uint64) {
	for n := range maps.Values(counts) {
		total += n
	}
	return total
}

// goroutinesLeft gives goroutines more time than goleak does: after refusing a
// request with an unread body net/http waits for half a second. In a bubble, where time
// is free, a dialled connection that a failed test has left may take its CloseTimeout.
func (s *Server) goroutinesLeft() (err error) {
	for range 4 {
		if err = goleak.Find(s.before.goroutines); err == nil {
			return nil
		}
		if inBubble() {
			time.Sleep(30 * time.Second)
		}
	}
	return err
}

// filesLeft gives descriptors a moment: a socket whose peer has just gone may be
// in the middle of its closing.
func (s *Server) filesLeft() (left []string) {
	poll(time.Second, func() bool {
		left = left[:0]
		for fd, target := range openFiles() {
			if s.before.files[fd] != target {
				left = append(left, fd+" "+target)
			}
		}
		return len(left) == 0
	})
	return left
}
