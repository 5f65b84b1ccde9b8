package bench

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/penstock-ws/penstock/bench"
)

// progress is a bar on a terminal, or nothing.
type progress struct {
	name string
	out  io.Writer
	bar  *progressbar.ProgressBar // nil before the first report, and without a terminal
}

func newProgress(terminal io.Writer, name string) *progress {
	return &progress{name: name, out: terminal}
}

// terminal returns w if that is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// show draws the state of a run.
func (p *progress) show(now bench.Progress) {
	if p.out == nil {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(now.Total.Milliseconds(),
			progressbar.OptionSetWriter(p.out),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionClearOnFinish(),
		)
	}
	rate := float64(now.Messages) / max(now.Elapsed, time.Millisecond).Seconds()
	p.bar.Describe(fmt.Sprintf("%s  %.0f messages/s", p.name, rate))
	// Never full: that would clear the bar while the last replies are awaited.
	_ = p.bar.Set64(min(now.Elapsed, now.Total-time.Millisecond).Milliseconds())
}

// end clears the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
