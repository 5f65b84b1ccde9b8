package serve

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// printSettings writes each setting on a line: its name in a file, what it is, and
// where that comes from.
func printSettings(w io.Writer, list []*option, s *settings) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	ofEngine := variables(s.engine)
	for _, o := range list {
		value := s.value(o, ofEngine)
		if value == "" {
			value = "-"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", o.field, value, s.from(o)) // Flush has the error
	}
	return t.Flush()
}
