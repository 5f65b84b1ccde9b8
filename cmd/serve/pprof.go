package serve

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// servePprof serves profiles on ln, unless that is nil, until stop is called.
//
// net/http/pprof is not used: importing it would put the profiles on the
// http.DefaultServeMux of every program that embeds this package.
func servePprof(ln net.Listener, logger *slog.Logger) (stop func()) {
	if ln == nil {
		return func() {}
	}
	srv := &http.Server{Handler: localOnly(pprofMux()), ReadHeaderTimeout: 10 * time.Second}
	logger.Info("profiles", "url", "http://"+ln.Addr().String()+"/debug/pprof/")
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("profiles are not served any more", "error", err)
		}
	}()
	return func() {
		_ = srv.Close()
		<-ended
	}
}

// localOnly refuses requests for a name that is not this machine's: a page whose name
// has been made to resolve to it.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !setPprof(new(settings), r.Host) && !setPprof(new(settings), net.JoinHostPort(r.Host, "80")) {
			http.Error(w, "ask for a loopback address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func pprofMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range pprof.Profiles() {
			_, _ = fmt.Fprintf(w, "%s %d\n", p.Name(), p.Count())
		}
		_, _ = fmt.Fprintln(w, "profile ?seconds=30\ntrace ?seconds=1")
	})
	mux.HandleFunc("GET /debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) {
		p := pprof.Lookup(r.PathValue("name"))
		debug, err := strconv.Atoi(cmp.Or(r.FormValue("debug"), "0"))
		if p == nil || err != nil {
			http.NotFound(w, r)
			return
		}
		_ = p.WriteTo(w, debug) // fails if the asker is gone
	})
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		record(w, r, "30", func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	})
	mux.HandleFunc("GET /debug/pprof/trace", func(w http.ResponseWriter, r *http.Request) {
		record(w, r, "1", func() error { return trace.Start(w) }, trace.Stop)
	})
	return mux
}

// mostSeconds bounds a recording.
const mostSeconds = 600

// record starts and stops after the seconds that are asked for, or when the asker goes.
func record(w http.ResponseWriter, r *http.Request, seconds string, start func() error, stop func()) {
	n, err := strconv.Atoi(cmp.Or(r.FormValue("seconds"), seconds))
	if err != nil || n < 1 || n > mostSeconds {
		http.Error(w, fmt.Sprintf("seconds must be 1 to %d", mostSeconds), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := start(); err != nil {
		http.Error(w, err.Error(), http.StatusConflict) // another is being recorded
		return
	}
	defer stop()
	select {
	case <-time.After(time.Duration(n) * time.Second):
	case <-r.Context().Done():
	}
}
