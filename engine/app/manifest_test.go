package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/app"
)

// mistakes returns the path and line of each mistake.
func mistakes(t *testing.T, err error) map[string]int {
	found := map[string]int{}
	var collect func(error)
	collect = func(err error) {
		switch e := err.(type) {
		case *app.ManifestError:
			found[e.Path] = e.Line
			require.NotEmpty(t, e.Problem)
			require.Contains(t, e.Error(), e.File)
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				collect(one)
			}
		default:
			require.Failf(t, "not a mistake in a manifest", "%v", err)
		}
	}
	if err != nil {
		collect(err)
	}
	return found
}

const good = `{"slug":"a","websockets":{"w":{"path":"/w"}}}`

// badManifests are one of every kind of mistake, with the path and line of each.
var badManifests = map[string]struct {
	text string
	want map[string]int
}{
	"empty":                    {``, map[string]int{"": 1}},
	"half":                     {`{"slug":`, map[string]int{"": 1}},
	"more behind":              {good + "\n{}", map[string]int{"": 2}},
	"comma":                    {"{\"slug\":\"a\",\n}", map[string]int{"": 2}},
	"no object":                {`[]`, map[string]int{"": 1}},
	"nothing":                  {`{}`, map[string]int{"slug": 1, "websockets": 1}},
	"slug of another type":     {`{"slug":1,"websockets":{"w":{"path":"/w"}}}`, map[string]int{"slug": 1}},
	"slug with capitals":       {`{"slug":"My App","websockets":{"w":{"path":"/w"}}}`, map[string]int{"slug": 1}},
	"slug too long":            {`{"slug":"` + strings.Repeat("x", 64) + `","websockets":{"w":{"path":"/w"}}}`, map[string]int{"slug": 1}},
	"unknown field":            {"{\"slug\":\"a\",\n\"websocket\":{},\n\"websockets\":{\"w\":{\"path\":\"/w\"}}}", map[string]int{"websocket": 2}},
	"field twice":              {"{\"slug\":\"a\",\n\"slug\":\"b\",\"websockets\":{\"w\":{\"path\":\"/w\"}}}", map[string]int{"slug": 2}},
	"field twice below":        {"{\"slug\":\"a\",\"websockets\":{\"w\":{\"path\":\"/w\",\n\"path\":\"/v\"}}}", map[string]int{"websockets.w.path": 2}},
	"endpoint twice":           {"{\"slug\":\"a\",\"websockets\":{\"w\":{\"path\":\"/w\"},\n\"w\":{\"path\":\"/w\"}}}", map[string]int{"websockets.w": 2}},
	"slug with - before":       {`{"slug":"-a","websockets":{"w":{"path":"/w"}}}`, map[string]int{"slug": 1}},
	"schema no string":         {`{"$schema":1,"slug":"a","websockets":{"w":{"path":"/w"}}}`, map[string]int{"$schema": 1}},
	"no endpoints":             {`{"slug":"a","websockets":{}}`, map[string]int{"websockets": 1}},
	"endpoints in an array":    {`{"slug":"a","websockets":[]}`, map[string]int{"websockets": 1}},
	"endpoint no object":       {`{"slug":"a","websockets":{"w":"/w"}}`, map[string]int{"websockets.w": 1}},
	"endpoint without path":    {`{"slug":"a","websockets":{"w":{}}}`, map[string]int{"websockets.w.path": 1}},
	"endpoint with a bad name": {`{"slug":"a","websockets":{"W w":{"path":"/w"}}}`, map[string]int{"websockets.W w": 1}},
	"path without slash":       {`{"slug":"a","websockets":{"w":{"path":"w"}}}`, map[string]int{"websockets.w.path": 1}},
	"path with a query":        {`{"slug":"a","websockets":{"w":{"path":"/w?x"}}}`, map[string]int{"websockets.w.path": 1}},
	"path that climbs":         {`{"slug":"a","websockets":{"w":{"path":"/../w"}}}`, map[string]int{"websockets.w.path": 1}},
	"path of a subtree":        {`{"slug":"a","websockets":{"w":{"path":"/w/"}}}`, map[string]int{"websockets.w.path": 1}},
	"path of everything":       {`{"slug":"a","websockets":{"w":{"path":"/"}}}`, map[string]int{"websockets.w.path": 1}},
	"path of two slashes":      {`{"slug":"a","websockets":{"w":{"path":"//w"}}}`, map[string]int{"websockets.w.path": 1}},
	"path with a pattern":      {`{"slug":"a","websockets":{"w":{"path":"/:w"}}}`, map[string]int{"websockets.w.path": 1}},
	"path with a control":      {`{"slug":"a","websockets":{"w":{"path":"/w\u0000"}}}`, map[string]int{"websockets.w.path": 1}},
	"path that stays":          {`{"slug":"a","websockets":{"w":{"path":"/w/."}}}`, map[string]int{"websockets.w.path": 1}},
	"path of another type":     {`{"slug":"a","websockets":{"w":{"path":null}}}`, map[string]int{"websockets.w.path": 1}},
	"one path twice":           {`{"slug":"a","websockets":{"v":{"path":"/w"},"w":{"path":"/w"}}}`, map[string]int{"websockets.w.path": 1}},
	"ping as a string":         {"{\"slug\":\"a\",\"websockets\":{\"w\":{\"path\":\"/w\",\n\"ping_interval\":\"30\"}}}", map[string]int{"websockets.w.ping_interval": 2}},
	"ping too often":           {`{"slug":"a","websockets":{"w":{"path":"/w","ping_interval":4}}}`, map[string]int{"websockets.w.ping_interval": 1}},
	"ping too rare":            {`{"slug":"a","websockets":{"w":{"path":"/w","ping_interval":301}}}`, map[string]int{"websockets.w.ping_interval": 1}},
	"ping broken":              {`{"slug":"a","websockets":{"w":{"path":"/w","ping_interval":30.5}}}`, map[string]int{"websockets.w.ping_interval": 1}},
	"auth no object":           {`{"slug":"a","websockets":{"w":{"path":"/w","auth":true}}}`, map[string]int{"websockets.w.auth": 1}},
	"auth with another type":   {`{"slug":"a","websockets":{"w":{"path":"/w","auth":{"required":"yes"}}}}`, map[string]int{"websockets.w.auth.required": 1}},
	"auth unknown":             {`{"slug":"a","websockets":{"w":{"path":"/w","auth":{"roles":[]}}}}`, map[string]int{"websockets.w.auth.roles": 1}},
	"C11: auth against itself": {`{"slug":"a","websockets":{"w":{"path":"/w","auth":{"required":true,"allow_anonymous":true}}}}`, map[string]int{"websockets.w.auth.allow_anonymous": 1}},
	"C11: spellings differ":    {`{"slug":"a","auth_required":true,"auth_policy":{"required":false},"websockets":{"w":{"path":"/w"}}}`, map[string]int{"auth_policy.required": 1}},
	"C11: endpoint spellings":  {`{"slug":"a","websockets":{"w":{"path":"/w","auth_required":false,"auth":{"required":true}}}}`, map[string]int{"websockets.w.auth.required": 1}},
	"nested too deep":          {strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40), map[string]int{"": 1}},
	"several":                  {`{"slug":"A","x":1,"websockets":{"w":{"path":"w","ping_interval":0}}}`, map[string]int{"slug": 1, "x": 1, "websockets.w.path": 1, "websockets.w.ping_interval": 1}},
}

// Every kind of mistake is found where it is.
func TestManifestMistakes(t *testing.T) {
	require.Empty(t, mistakes(t, parse(good)))
	for name, row := range badManifests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, row.want, mistakes(t, parse(row.text)))
		})
	}
}

// A mistake is told once, and shortly.
func TestMistakesAreShort(t *testing.T) {
	err := parse(`{"slug":"` + strings.Repeat("X", 1000) + `","x":1,"x":2,"websockets":{
		"w":{"path":"` + strings.Repeat("x", 1000) + `","ping_interval":` + strings.Repeat("9", 1000) + `}}}`)
	list := err.(interface{ Unwrap() []error }).Unwrap()
	require.Len(t, list, 5) // x is unknown, and stands there twice
	both := parse(`{"slug":"a","websockets":{"v":{},"w":{}}}`).(interface{ Unwrap() []error }).Unwrap()
	require.Len(t, both, 2, "two that have no path do not have the same")
	for _, one := range list {
		require.Less(t, len(one.Error()), 250)
	}
}

// A whole number is one, however it is written.
func TestPingInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "30.0": 30 * time.Second, "3e1": 30 * time.Second, "300": 300 * time.Second} {
		m := manifest(t, `{"slug":"a","websockets":{"w":{"path":"/w","ping_interval":`+text+`}}}`)
		require.Equal(t, want, m.Endpoints[0].PingInterval)
	}
}

// Names and descriptions are kept; $schema is for editors.
func TestManifestTexts(t *testing.T) {
	m := manifest(t, `{"$schema":"x","slug":"a","name":"A","description":"does","websockets":{"w":{"path":"/w.x~/_-Z9","description":"too"}}}`)
	require.Equal(t, []string{"A", "does", "too"}, []string{m.Name, m.Description, m.Endpoints[0].Description})
}

func parse(text string) error {
	_, err := app.ParseManifest("test.json", []byte(text))
	return err
}

// authSpellings are the ways to say whether a user is required, and what they say.
var authSpellings = map[string]bool{
	`{"slug":"a","auth_required":false,"websockets":{"w":{"path":"/w"}}}`:                                                         false,
	`{"slug":"a","auth_policy":{"required":false},"websockets":{"w":{"path":"/w"}}}`:                                              false,
	`{"slug":"a","auth_policy":{"allow_anonymous":true},"websockets":{"w":{"path":"/w"}}}`:                                        false,
	`{"slug":"a","auth_required":false,"auth_policy":{"required":false,"allow_anonymous":true},"websockets":{"w":{"path":"/w"}}}`: false,
	`{"slug":"a","auth_required":false,"websockets":{"w":{"path":"/w","auth":{"required":true}}}}`:                                true,
	`{"slug":"a","auth_required":false,"websockets":{"w":{"path":"/w","auth_required":true}}}`:                                    true,
	`{"slug":"a","auth_required":true,"websockets":{"w":{"path":"/w","auth":{"allow_anonymous":true}}}}`:                          false,
}

// C11: both spellings are accepted, on both levels, and the endpoint's own counts.
func TestC11BothSpellings(t *testing.T) {
	for text, want := range authSpellings {
		m := manifest(t, text)
		require.Equal(t, want, m.Endpoints[0].AuthRequired, text)
	}
}

// A directory of manifests; every mistake in any of them is told.
func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "apps [1]")
	require.NoError(t, os.Mkdir(dir, 0o700))
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	_, err := app.Load(dir)
	require.Error(t, err, "an empty directory is a mistake")
	one := write("one.json", alpha)
	write("two.json", beta)
	write("notes.txt", "not a manifest")
	list, err := app.Load(dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
	list, err = app.Load(one)
	require.NoError(t, err)
	require.Equal(t, "alpha", list[0].Slug)

	write("three.json", beta) // its slug is taken
	_, err = app.Load(dir)
	require.Equal(t, map[string]int{"slug": 1}, mistakes(t, err))
	write("three.json", "{")
	write("two.json", `{"slug":"b"}`)
	_, err = app.Load(dir)
	require.Equal(t, map[string]int{"": 1, "websockets": 1}, mistakes(t, err))
	two := write("two.json", beta+strings.Repeat(" ", 1<<20-len(beta)))
	_, err = app.Load(two)
	require.NoError(t, err)
	write("two.json", beta+strings.Repeat(" ", 1<<20+1-len(beta)))
	_, err = app.Load(two)
	require.ErrorAs(t, err, new(*app.ManifestError))
	_, err = app.Load(filepath.Join(dir, "absent.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzManifest(f *testing.F) {
	f.Add(alpha)
	f.Add(beta)
	f.Add(`{"slug":"a","slug":1,"websockets":{"w":[{},null,1e9,{"path":"/"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := app.ParseManifest("fuzz.json", []byte(text))
		if err == nil {
			require.NotEmpty(t, m.Slug)
			require.NotEmpty(t, m.Endpoints)
			return
		}
		mistakes(t, err)
	})
}
