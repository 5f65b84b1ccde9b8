package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Manifest is what an app declares. ParseManifest and Load make it: New takes no other,
// for in a zero Endpoint nobody would have to be anybody.
type Manifest struct {
	// Slug names the app: lower-case letters, digits, _ and -, but no - at the
	// beginning; at most 63 of them.
	Slug string

	// Name and Description are for people.
	Name        string
	Description string

	// Endpoints are sorted by name.
	Endpoints []Endpoint

	file   string
	parsed bool
}

// Endpoint is one WebSocket endpoint of an app.
type Endpoint struct {
	Name        string // like a slug
	Path        string // like "/ws", of letters, digits, -, _, . and ~ between slashes
	Description string

	// AuthRequired refuses connections without a user, with 401. It is true unless the
	// manifest says otherwise, for the endpoint or for the app.
	AuthRequired bool

	// PingInterval is the silence after which a peer is pinged, 5 s to 300 s, 30 s by
	// default; after two and a half times as much it is given up.
	PingInterval time.Duration
}

// ManifestError is one mistake in a manifest.
type ManifestError struct {
	File string // or what it was called
	Line int
	Path string // to the value, from the manifest's top: websockets.chat.path

	// Problem says what is wrong, and what would be right.
	Problem string
}

// Error tells all of it.
func (e *ManifestError) Error() string {
	where := e.Path
	if where != "" {
		where += " "
	}
	return fmt.Sprintf("%s:%d: %s%s", e.File, e.Line, where, e.Problem)
}

// ParseManifest reads the manifest in text; name is what errors call it. The error
// joins a *ManifestError for every mistake. docs/schema/app-manifest.schema.json tells
// editors what a manifest may have.
func ParseManifest(name string, text []byte) (Manifest, error) {
	b := &binder{file: name}
	m := Manifest{file: name, parsed: true}
	root, line, err := parse(text, func(line int, path string) {
		b.mistake(line, path, "stands there twice")
	})
	if err == nil {
		b.manifest(root, &m)
	} else {
		b.mistake(line, "", err.Error())
	}
	if len(b.errs) > 0 {
		return Manifest{}, errors.Join(b.errs...)
	}
	return m, nil
}

// mostManifest bounds a file: a manifest is written by hand.
const mostManifest = 1 << 20

// Load reads the manifest in a file, or all of a directory: its files *.json. The error
// joins every mistake in any of them. Two apps must not have the same slug.
func Load(path string) ([]Manifest, error) {
	files := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(globQuote(path), "*.json")); err != nil {
			return nil, fmt.Errorf("app: %w", err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("app: the directory %s has no file *.json with a manifest", path)
		}
	}
	var list []Manifest
	var errs []error
	for _, file := range files {
		m, err := loadFile(file)
		list, errs = append(list, m), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return list, distinct(list)
}

// globQuote keeps a directory's name from being taken for a pattern.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// loadFile reads no more than a manifest may have, whatever the file says about itself:
// it may be a device.
func loadFile(file string) (Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return Manifest{}, fmt.Errorf("app: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, mostManifest+1))
	switch {
	case err != nil:
		return Manifest{}, fmt.Errorf("app: %w", err)
	case len(text) > mostManifest:
		return Manifest{}, &ManifestError{File: file, Line: 1, Problem: fmt.Sprintf("is too long: at most %d bytes would be right", mostManifest)}
	}
	return ParseManifest(file, text)
}

func distinct(list []Manifest) error {
	from := make(map[string]string)
	var errs []error
	for _, m := range list {
		if other, taken := from[m.Slug]; taken {
			errs = append(errs, &ManifestError{File: m.file, Line: 1, Path: "slug", Problem: fmt.Sprintf("is %q, as in %s: every app needs one of its own", m.Slug, other)})
		}
		from[m.Slug] = m.file
	}
	return errors.Join(errs...)
}

// A binder makes a manifest of nodes and collects mistakes.
type binder struct {
	file string
	errs []error
}

func (b *binder) mistake(line int, path, problem string) {
	b.errs = append(b.errs, &ManifestError{b.file, line, path, problem})
}

// wrong is a mistake in a value that is there.
func (b *binder) wrong(n *node, path, right string) {
	b.mistake(n.line, path, fmt.Sprintf("is %v: %s would be right", n, right))
}

// A field is what is done with a field of an object.
type field = func(path string, n *node)

// object gives each field of n to the function for its name.
func (b *binder) object(n *node, path string, fields map[string]field) {
	o, ok := n.value.(*object)
	if !ok {
		b.wrong(n, path, "an object")
		return
	}
	for _, name := range o.names {
		at := join(path, name)
		if bind := fields[name]; bind != nil {
			bind(at, o.fields[name])
			continue
		}
		b.mistake(o.fields[name].line, at, "is unknown: there are "+strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (b *binder) text(to *string) field {
	return func(path string, n *node) {
		s, ok := n.value.(string)
		if !ok {
			b.wrong(n, path, "a string")
			return
		}
		*to = s
	}
}

// An opinion is a bool that may have been given.
type opinion struct {
	given, value bool
	path         string
}

// say binds a bool to what it says about whether authentication is required; inverted:
// it says whether it is not. Two that contradict each other are a mistake.
func (b *binder) say(o *opinion, inverted bool) field {
	return func(path string, n *node) {
		v, ok := n.value.(bool)
		if !ok {
			b.wrong(n, path, "true or false")
			return
		}
		v = v != inverted
		if o.given && o.value != v {
			b.mistake(n.line, path, "contradicts "+o.path)
			return
		}
		*o = opinion{true, v, path}
	}
}

func (b *binder) manifest(n *node, m *Manifest) {
	var required opinion
	var endpoints *node
	b.object(n, "", b.fieldsOfApp(m, &required, &endpoints))
	if _, ok := n.value.(*object); !ok {
		return
	}
	if !isName(m.Slug) {
		b.mistake(n.line, "slug", fmt.Sprintf("is %.60q: lower-case letters, digits, _ and - would be right, at most 63, and no - at the beginning", m.Slug))
	}
	if endpoints == nil {
		b.mistake(n.line, "websockets", "is missing: an object with an endpoint for each name would be right")
		return
	}
	b.endpoints(endpoints, m, !required.given || required.value)
}

// The three tables of fields, which the schema for editors has, too.

func (b *binder) fieldsOfApp(m *Manifest, required *opinion, endpoints **node) map[string]field {
	return map[string]field{
		"$schema":       b.text(new(string)), // for editors
		"slug":          b.text(&m.Slug),
		"name":          b.text(&m.Name),
		"description":   b.text(&m.Description),
		"auth_required": b.say(required, false),
		"auth_policy":   b.policy(required),
		"websockets":    func(_ string, n *node) { *endpoints = n },
	}
}

func (b *binder) fieldsOfEndpoint(e *Endpoint, required *opinion) map[string]field {
	return map[string]field{
		"path":          b.text(&e.Path),
		"description":   b.text(&e.Description),
		"auth_required": b.say(required, false),
		"auth":          b.policy(required),
		"ping_interval": b.seconds(&e.PingInterval),
	}
}

func (b *binder) fieldsOfPolicy(required *opinion) map[string]field {
	return map[string]field{"required": b.say(required, false), "allow_anonymous": b.say(required, true)}
}

// policy is an object with opinions.
func (b *binder) policy(o *opinion) field {
	return func(path string, n *node) { b.object(n, path, b.fieldsOfPolicy(o)) }
}

func (b *binder) endpoints(n *node, m *Manifest, required bool) {
	o, ok := n.value.(*object)
	if !ok || len(o.names) == 0 {
		b.wrong(n, "websockets", "an object with an endpoint for each name")
		return
	}
	paths := make(map[string]string)
	for _, name := range slices.Sorted(slices.Values(o.names)) {
		at := join("websockets", name)
		e := b.endpoint(o.fields[name], at, name, required)
		if other, taken := paths[e.Path]; taken && e.Path != "" {
			b.mistake(o.fields[name].line, at+".path", fmt.Sprintf("is %.60q, as that of %s: every endpoint needs one of its own", e.Path, other))
		}
		paths[e.Path] = at
		m.Endpoints = append(m.Endpoints, e)
	}
}

func (b *binder) endpoint(n *node, path, name string, required bool) Endpoint {
	e := Endpoint{Name: name, PingInterval: defaultPing}
	var own opinion
	if !isName(name) {
		b.mistake(n.line, path, "has a name of other than lower-case letters, digits, _ and -, of more than 63, or with - at the beginning")
	}
	b.object(n, path, b.fieldsOfEndpoint(&e, &own))
	if _, ok := n.value.(*object); ok && !isPath(e.Path) {
		b.mistake(n.line, path+".path", fmt.Sprintf("is %.60q: a path like \"/ws\" would be right, of letters, digits, -, _, . and ~, without / at the end", e.Path))
	}
	if e.AuthRequired = required; own.given {
		e.AuthRequired = own.value
	}
	return e
}

const (
	defaultPing = 30 * time.Second
	leastPing   = 5
	mostPing    = 300
)

func (b *binder) seconds(to *time.Duration) field {
	return func(path string, n *node) {
		number, _ := n.value.(json.Number)
		seconds, err := number.Float64() // 30.0 and 3e1 are whole numbers, too
		if err != nil || seconds != math.Trunc(seconds) || seconds < leastPing || seconds > mostPing {
			b.wrong(n, path, fmt.Sprintf("a whole number of seconds from %d to %d", leastPing, mostPing))
			return
		}
		*to = time.Duration(seconds) * time.Second
	}
}

func isName(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && strings.Trim(s, lower+"_-") == ""
}

const lower = "abcdefghijklmnopqrstuvwxyz0123456789"

// isPath reports whether all routers take s for the same. Some understand { }, : or *
// as patterns, and a slash at the end as everything below.
func isPath(s string) bool {
	if !strings.HasPrefix(s, "/") {
		return false
	}
	for part := range strings.SplitSeq(s[1:], "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.~") != "" {
			return false
		}
	}
	return true
}
