package serve

import (
	"log/slog"
	"net/http"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/interceptors"
)

// routes are the endpoints of apps by their paths, and the filters' for all others.
// They are compared as they are: a mux would redirect, which no WebSocket client follows.
type routes struct {
	apps map[string]http.Handler
	rest http.Handler
}

// Handle makes routes an app.Router.
func (r *routes) Handle(path string, h http.Handler) { r.apps[path] = h }

// ServeHTTP passes the request on.
func (r *routes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if h := r.apps[req.URL.Path]; h != nil {
		h.ServeHTTP(w, req)
		return
	}
	r.rest.ServeHTTP(w, req)
}

// loadManifests reads the apps. An endpoint that requires a user needs tokens to know
// one by.
func loadManifests(s *settings) ([]app.Manifest, error) {
	if s.manifest == "" {
		return nil, nil
	}
	list, err := app.Load(s.manifest)
	if err != nil {
		return nil, usagef("%s: %w", s.source("manifest"), err)
	}
	for _, m := range list {
		for _, ep := range m.Endpoints {
			if ep.AuthRequired && len(s.tokens) == 0 {
				return nil, usagef("%s: %s/%s requires a user, and nobody is known: set WS_TOKENS to a list of user=token", s.source("manifest"), m.Slug, ep.Name)
			}
		}
	}
	return list, nil
}

// mount puts apps, whose clients subscribe to channels, before rest.
func mount(e *engine.Engine, s *settings, list []app.Manifest, logger *slog.Logger, rest http.Handler) (http.Handler, error) {
	if len(list) == 0 {
		return rest, nil
	}
	cfg := app.Config{Manifests: list, Logger: logger}
	if s.slugPrefix {
		cfg.Prefix = func(slug string) string { return "/" + slug }
	}
	if len(s.tokens) > 0 {
		cfg.Auth = authFor(list, interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: s.tokens, Logger: logger}))
	}
	apps, err := app.New(e, cfg)
	if err != nil {
		return nil, usagef("%s: %w (--slug-prefix keeps apps apart)", s.source("manifest"), err)
	}
	for _, m := range list {
		for _, ep := range m.Endpoints {
			if err := apps.Handle(m.Slug, ep.Name, app.Channels(nil).Handle); err != nil {
				return nil, err
			}
		}
	}
	r := &routes{apps: make(map[string]http.Handler), rest: rest}
	apps.Mount(r)
	return r, nil
}

// authFor asks for a token where a user is required, and nobody elsewhere: TokenAuth
// refuses whoever has none.
func authFor(list []app.Manifest, auth interceptors.Interceptor) func(slug, endpoint string) interceptors.Interceptor {
	return func(slug, endpoint string) interceptors.Interceptor {
		for _, m := range list {
			for _, ep := range m.Endpoints {
				if m.Slug == slug && ep.Name == endpoint && ep.AuthRequired {
					return auth
				}
			}
		}
		return nil
	}
}
