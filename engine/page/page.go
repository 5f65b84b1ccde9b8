package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/penstock-ws/penstock/engine"
)

// Config configures [New]. Its zero value will do.
type Config struct {
	// Token is what the live view is shown for: "Authorization: Bearer <token>", or what
	// is typed on the page. At least 16 letters, digits and -._~, as it has to pass as a
	// subprotocol. Default: there is none, and only programs of this machine see the live
	// view, by a loopback address. With one they need it, too: a proxy on the same
	// machine may look like one of them.
	Token string

	// TrustedProxies are those of engine.Config. What comes from them comes from
	// elsewhere, also if they are on this machine.
	TrustedProxies []netip.Prefix

	// Endpoint is the path of the WebSocket endpoint that the page proposes to try.
	// Default: "/".
	Endpoint string

	// Logger receives what the live view's own connections come to. Default:
	// slog.Default().
	Logger *slog.Logger
}

// Source is what is shown: an *engine.Engine.
type Source interface{ Stats() engine.Stats }

// Page is the page of one engine. It is an http.Handler that expects the path "/" and
// what is below "/_penstock/": to have it elsewhere, put http.StripPrefix before it, and a
// slash behind its path.
type Page struct {
	alone    http.Handler // before what is not found
	access   access
	endpoint string
	view     *view
}

// New returns the page of source. The error names every mistake in cfg. The page runs
// until Shutdown.
func New(source Source, cfg Config) (*Page, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Page{access: newAccess(cfg), endpoint: cfg.Endpoint}
	if p.endpoint == "" {
		p.endpoint = "/"
	}
	var err error
	if p.view, err = newView(source, cfg, p.access.admit); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p.alone = p.Before(http.NotFoundHandler())
	return p, nil
}

// ServeHTTP answers what is the page's, and everything else with 404.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.alone.ServeHTTP(w, r) }

// Before answers what is the page's, and leaves everything else to next: every handshake
// but those of the live view, also on the page's paths.
func (p *Page) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ours := files[r.URL.Path]
		switch {
		case r.URL.Path == livePath:
			p.view.ServeHTTP(w, r)
		case engine.IsUpgrade(r):
			next.ServeHTTP(w, r)
		case r.URL.Path == aboutPath:
			serveFile(w, r, p.about(r))
		case ours:
			serveFile(w, r, f)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Shutdown ends the live view's connections with 1001, as engine.Engine.Shutdown does.
func (p *Page) Shutdown(ctx context.Context) error { return p.view.engine.Shutdown(ctx) }

var goodToken = regexp.MustCompile(`^[A-Za-z0-9._~-]{16,}$`)

// TokenAllowed says which tokens there can be.
const TokenAllowed = "at least 16 letters, digits and -._~"

// GoodToken reports whether Config takes a token.
func GoodToken(token string) bool { return goodToken.MatchString(token) }

func (c Config) validate() error {
	var errs []error
	if c.Token != "" && !GoodToken(c.Token) {
		errs = append(errs, errors.New("page: Token is not what it must be: allowed is "+TokenAllowed))
	}
	if c.Endpoint != "" && !strings.HasPrefix(c.Endpoint, "/") {
		errs = append(errs, fmt.Errorf("page: Endpoint is %q: allowed is a path that begins with a slash", c.Endpoint))
	}
	return errors.Join(errs...)
}

// about tells the page's script what it cannot know: a browser does not tell it why a
// handshake is refused.
func (p *Page) about(r *http.Request) file {
	body, _ := json.Marshal(struct { // strings cannot fail
		Live     string `json:"live"`
		Endpoint string `json:"endpoint"`
	}{p.access.to(r), p.endpoint})
	return file{kind: "application/json", body: string(body)}
}
