package serve

import (
	"io"
	"net/http"

	"github.com/penstock-ws/penstock/engine"
)

// withHealth answers GET /healthz, as long as the process can answer at all, and GET
// /readyz: 200 until a shutdown is about to begin, and then 503. A WebSocket handshake
// goes on there, as it does on any other path.
func (s *server) withHealth(ws http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		healthz, readyz := r.URL.Path == "/healthz", r.URL.Path == "/readyz"
		if !healthz && !readyz || engine.IsUpgrade(r) {
			ws.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET this", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		answer := "ok\n"
		if readyz && s.ended.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer = "shutting down\n"
		}
		_, _ = io.WriteString(w, answer) // fails if the asker is gone
	})
}
