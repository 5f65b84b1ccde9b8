package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"net/http"
	"path"
	"strings"
	"time"
)

// The page's paths. They begin with what no program is likely to call its own.
const (
	below     = "/_penstock/"
	livePath  = below + "live"
	aboutPath = below + "about"
)

//go:embed files
var embedded embed.FS

// A file is what a GET is answered with.
type file struct {
	kind string // its media type
	body string
	tag  string // "": it is not to be kept
}

// files are the page's by their paths.
var files = readFiles()

var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func readFiles() map[string]file {
	list, err := embedded.ReadDir("files")
	if err != nil {
		panic(err) // it has been compiled in
	}
	all := make(map[string]file)
	for _, entry := range list {
		body, err := embedded.ReadFile("files/" + entry.Name())
		if err != nil {
			panic(err) // likewise
		}
		at := below + entry.Name()
		if entry.Name() == "index.html" {
			at = "/"
		}
		sum := sha256.Sum256(body)
		all[at] = file{kinds[path.Ext(entry.Name())], string(body), `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all
}

// policy lets the page load what is the server's own and nothing else, also connections:
// those of another origin most servers would refuse. No script stands in the page, none is
// made from text, and nobody frames it.
var policy = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Embedder-Policy": "require-corp",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// sendTimeout is how long somebody may take to read a file.
const sendTimeout = 10 * time.Second

// serveFile answers GET and HEAD. A browser that has the file asks each time whether it is
// still the same: a server that has been replaced shows its own page.
func serveFile(w http.ResponseWriter, r *http.Request, f file) {
	for name, value := range policy {
		w.Header().Set(name, value)
	}
	if r.TLS != nil || loopbackHost(r.Host) { // elsewhere browsers complain that they ignore it
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin") // an isolated page has a finer clock
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET this", http.StatusMethodNotAllowed)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout)) // a wrapper of w may not be able to
	w.Header().Set("Content-Type", f.kind)
	if f.tag == "" {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, f.body) // fails if the asker is gone
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Etag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(f.body))
}
