package serve

import (
	"io"
	"log/slog"
)

// newLogger writes lines of text or JSON to w.
func newLogger(w io.Writer, s *settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.logLevel}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
