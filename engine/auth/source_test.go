package auth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var allSources = []Source{Bearer(), Cookie("session"), Header("X-Worker-Secret"), Query("token"), Subprotocol("bearer")}

func requestOf(query string, header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.URL.RawQuery = query
	r.Header = header
	return r
}

func TestExtract(t *testing.T) {
	long := strings.Repeat("x", 33)
	for _, c := range []struct {
		name   string
		query  string
		header http.Header
		token  string
		from   int // of allSources
		err    error
		left   string // query, Authorization, cookie and subprotocols without the token
	}{
		{name: "nothing"},
		{name: "bearer", header: http.Header{"Authorization": {"Bearer abc"}}, token: "abc"},
		{name: "bearer in another case", header: http.Header{"Authorization": {"bEaReR   abc "}}, token: "abc"},
		{name: "empty bearer", header: http.Header{"Authorization": {"Bearer "}}},
		{name: "basic", header: http.Header{"Authorization": {"Basic abc"}}, left: "Basic abc"},
		{name: "two headers", header: http.Header{"Authorization": {"Bearer abc", "Bearer abd"}}, err: ErrTwoTokens},
		{name: "the same twice", query: "token=abc", header: http.Header{"Authorization": {"Bearer abc"}}, token: "abc"},
		{name: "two sources", query: "token=abd", header: http.Header{"Authorization": {"Bearer abc"}}, err: ErrTwoTokens},
		{name: "cookie", header: http.Header{"Cookie": {"a=1; session=abc; b=2"}}, token: "abc", from: 1, left: "a=1; b=2"},
		{name: "quoted cookie", header: http.Header{"Cookie": {`session="abc"`}}, token: "abc", from: 1},
		{name: "two cookies", header: http.Header{"Cookie": {"session=abc; session=abd"}}, err: ErrTwoTokens},
		{name: "two cookie lines", header: http.Header{"Cookie": {"session=abc", "session=abd"}}, err: ErrTwoTokens},
		{name: "another cookie", header: http.Header{"Cookie": {"xsession=abc"}}, left: "xsession=abc"},
		{name: "own header", header: http.Header{"X-Worker-Secret": {"abc"}}, token: "abc", from: 2},
		{name: "query", query: "a=1&token=abc&b=2", token: "abc", from: 3, left: "a=1&b=2"},
		{name: "query with escapes", query: "t%6Fken=a%62c", token: "abc", from: 3},
		{name: "query twice", query: "token=abc&token=abd", err: ErrTwoTokens},
		{name: "query empty", query: "token=&x", left: "x"},
		{name: "query broken", query: "token=%zz", err: ErrMalformed},
		{name: "query with semicolon", query: "token=abc;x=1", err: ErrMalformed},
		{name: "other query broken", query: "x=%zz&token=abc", token: "abc", from: 3, left: "x=%zz"},
		{name: "subprotocol", header: http.Header{"Sec-Websocket-Protocol": {"bearer, abc, chat"}}, token: "abc", from: 4, left: "chat"},
		{name: "subprotocol in lines", header: http.Header{"Sec-Websocket-Protocol": {"chat,bearer", ",abc"}}, token: "abc", from: 4, left: "chat"},
		{name: "subprotocol without token", header: http.Header{"Sec-Websocket-Protocol": {"chat, bearer"}}, left: "chat"},
		{name: "subprotocol twice", header: http.Header{"Sec-Websocket-Protocol": {"bearer, abc, bearer, abd"}}, err: ErrTwoTokens},
		{name: "longest", query: "token=" + long[1:], token: long[1:], from: 3},
		{name: "too long", query: "token=" + long, err: ErrMalformed},
		{name: "too long bearer", header: http.Header{"Authorization": {"Bearer " + long}}, err: ErrMalformed},
		{name: "too long beside a good one", query: "token=" + long, header: http.Header{"Authorization": {"Bearer abc"}}, err: ErrMalformed},
		{name: "control character", query: "token=a%00c", err: ErrMalformed},
	} {
		r := requestOf(c.query, c.header)
		before, header := *r.URL, r.Header.Clone()
		own := r.WithContext(t.Context())
		p, err := extract(own, allSources, 32)
		assert.ErrorIs(t, err, c.err, c.name)
		assert.Equal(t, c.token, p.token, c.name)
		if c.token != "" {
			assert.Equal(t, allSources[c.from], p.source, c.name)
			left := own.URL.RawQuery
			for _, name := range []string{"Authorization", "Cookie", "X-Worker-Secret", "Sec-Websocket-Protocol"} {
				left += strings.Join(own.Header[name], "|")
			}
			assert.Equal(t, c.left, left, c.name)
		}
		assert.Equal(t, before, *r.URL, "%s: the caller's own request stays", c.name)
		assert.Equal(t, header, r.Header, c.name)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("a=1&token=abc", "Bearer abc", "session=abc; x", "bearer, abc")
	f.Add("token=%zz;", "basic", "session", "bearer")
	f.Fuzz(func(t *testing.T, query, authorization, cookie, subprotocol string) {
		header := http.Header{}
		for name, value := range map[string]string{"Authorization": authorization, "Cookie": cookie, "Sec-Websocket-Protocol": subprotocol} {
			if value != "" {
				header[name] = []string{value}
			}
		}
		r := requestOf(query, header)
		p, err := extract(r, allSources, 64)
		if (err != nil) && p.token != "" || len(p.token) > 64 {
			t.Fatalf("%q %v", p.token, err)
		}
		again, left := extract(r, allSources, 64)
		if again.token != "" || left != nil {
			t.Fatalf("%q is left, %v", again.token, left)
		}
		if err == nil && p.source.place == inQuery { // what the standard library finds there
			if values, err := url.ParseQuery(query); err == nil && values.Get("token") != p.token && values.Get("token") != "" {
				t.Fatalf("%q, not %q", p.token, values.Get("token"))
			}
		}
		if err == nil && p.source.place == inCookie {
			for _, c := range (&http.Request{Header: http.Header{"Cookie": {cookie}}}).CookiesNamed("session") {
				if c.Value != p.token && c.Value != "" && strings.Count(cookie, `"`) == 0 {
					t.Fatalf("%q, not %q", p.token, c.Value)
				}
			}
		}
	})
}

// Nor does what else of the request tells of its query, to whose Admit comes later and logs it.
func TestExtractRequestURI(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/a%20b?x=1&token=abc", nil)
	_, err := extract(r, allSources, 32)
	assert.NoError(t, err)
	assert.Equal(t, "/a%20b?x=1", r.RequestURI)
	r = httptest.NewRequest(http.MethodGet, "/?token=%zz", nil)
	_, err = extract(r, allSources, 32)
	assert.ErrorIs(t, err, ErrMalformed)
	assert.Equal(t, "/", r.RequestURI)
	r = httptest.NewRequest(http.MethodGet, "//odd?", nil) // nothing to take out: it stays as it came
	_, err = extract(r, allSources, 32)
	assert.NoError(t, err)
	assert.Equal(t, "//odd?", r.RequestURI)
}
