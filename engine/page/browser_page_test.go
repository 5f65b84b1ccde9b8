package page_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/page"
	"github.com/penstock-ws/penstock/frame"
)

// rows returns the table of messages, the newest first: direction, type, size, preview.
func rows(b *tab) [][]string {
	return eval[[][]string](b, `[...document.querySelectorAll("#log tr")].map((tr) => [...tr.cells].slice(1).map((td) => td.textContent))`)
}

// connectPage connects the page to what it proposes.
func connectPage(b *tab) {
	b.t.Helper()
	b.until(`document.getElementById("url").value`)
	b.click("open")
	b.untilText("state", "Connected")
}

// TestPageTalks: text and a file go out, come back, and are shown; the end is shown with
// its code and reason; the console stays empty, and nothing is asked of anybody else.
func TestPageTalks(t *testing.T) {
	url := served(t, "-f", "echo_messages", "--compress")
	b := newTab(t, url)
	connectPage(b)
	require.Contains(t, b.text("state"), "permessage-deflate")

	b.fill("text", "héllo <b>there</b>")
	b.click("send-text")
	b.untilText("totals", "1 message in, 19 B; 1 message out, 19 B")
	require.Equal(t, [][]string{
		{"in", "text", "19 B", "héllo <b>there</b>"},
		{"out", "text", "19 B", "héllo <b>there</b>"},
	}, rows(b)[:2])

	file := filepath.Join(t.TempDir(), "bytes")
	content := make([]byte, 5000)
	for i := range content {
		content[i] = byte(i)
	}
	require.NoError(t, os.WriteFile(file, content, 0o600))
	b.do(chromedp.SetUploadFiles(chromedp.ID("file"), []string{file}))
	b.click("send-file")
	b.untilText("totals", "2 messages in, 4.9 KiB; 2 messages out, 4.9 KiB")
	got := rows(b)[0]
	require.Equal(t, []string{"in", "binary", "4.9 KiB"}, got[:3])
	require.True(t, strings.HasPrefix(got[3], "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10"), got[3])
	eval[bool](b, `(document.querySelector("#log details").open = true)`)
	b.until(`document.querySelector("#log pre")?.textContent.startsWith("000000  00 01 02 03 04 05 06 07")`)
	require.Contains(t, eval[string](b, `document.querySelector("#log details").textContent`), "the beginning of 4.9 KiB")

	b.fill("code", "4321")
	b.fill("reason", "that was all")
	b.click("shut")
	b.untilText("state", "Closed by this page with 4321, private use.")
	require.Contains(t, b.text("outcome"), "that was all")
	b.click("clear")
	require.Empty(t, rows(b))
	b.quiet(url)
}

// TestPageShowsEnds: how a server ends a connection is shown and explained.
func TestPageShowsEnds(t *testing.T) {
	registry := filters.Stock()
	require.NoError(t, registry.Register("end", func(filters.Env) (filters.Filter, error) {
		var f filters.Filter
		f.Handler.OnMessage = func(_ context.Context, _ *engine.Conn, m engine.Message) error {
			return &engine.CloseError{Code: 1008, Reason: "not " + string(m.Data)}
		}
		return f, nil
	}))
	b := newTab(t, servedWith(t, registry, "-f", "end", "--max-message-bytes", "1000"))
	connectPage(b)
	b.fill("text", "here")
	b.click("send-text")
	b.untilText("state", "Closed by the server with 1008, policy violation.")
	require.Contains(t, b.text("outcome"), "“not here”")

	connectPage(b)
	b.fill("text", strings.Repeat("x", 1001))
	b.click("send-text")
	b.untilText("state", "Closed by the server with 1009, message too big.")
	require.Contains(t, b.text("outcome"), "MAX_WS_MESSAGE_BYTES")

	connectPage(b)
	b.click("shut")
	b.untilText("state", "Closed by this page with 1000, normal closure.")

	// A subprotocol that the server does not speak: the browser ends the handshake.
	b.fill("subprotocols", "unheard-of")
	b.click("open")
	b.untilText("state", "Closed with 1006, abnormal closure.")
	require.Contains(t, b.text("outcome"), "the subprotocol")
	require.Contains(t, eval[string](b, `document.getElementById("codes").textContent`), "1013")
}

// TestPageRefuses: what cannot be done is said where it was asked for, and the page goes on.
func TestPageRefuses(t *testing.T) {
	url := served(t, "-f", "echo_messages")
	b := newTab(t, url)
	b.until(`document.getElementById("url").value`)
	own := eval[string](b, `document.getElementById("url").value`)
	for wrong, problem := range map[string]string{
		"":                       "is no URL",
		"banana":                 "is no URL",
		"ws://example.com/":      "to its own server only",
		own + "#part":            "no part behind #",
		"http" + own[len("ws"):]: "to its own server only",
	} {
		b.fill("url", wrong)
		b.click("open")
		b.untilText("problem", problem)
	}
	b.fill("url", own)
	for _, wrong := range []string{"a b", "twice, twice"} {
		b.fill("subprotocols", wrong)
		b.click("open")
		b.untilText("problem", "subprotocols are different names")
	}
	b.fill("subprotocols", "")
	connectPage(b)
	require.Empty(t, b.text("problem"))
	for wrong, problem := range map[string]string{"1001": "3000 to 4999", "five": "3000 to 4999", "3000.5": "3000 to 4999"} {
		b.fill("code", wrong)
		b.click("shut")
		b.untilText("problem", problem)
	}
	b.fill("code", "3000")
	b.fill("reason", strings.Repeat("ü", 62))
	b.click("shut")
	b.untilText("problem", "124 bytes")
	b.click("send-file")
	b.untilText("problem", "Choose a file first")
	b.fill("text", "still connected")
	b.click("send-text")
	b.untilText("totals", "1 message in")
	b.quiet(url)
}

// TestPageMeasures: latency is a text's round trip, and where nothing comes back the page
// says so.
func TestPageMeasures(t *testing.T) {
	b := newTab(t, served(t, "-f", "echo_messages"))
	require.True(t, eval[bool](b, "crossOriginIsolated"), "or the clock is coarse")
	connectPage(b)
	b.click("measure")
	b.untilText("latency", "Round trip of a text message")
	require.Regexp(t, `median [\d.]+ ms, of 20 from [\d.]+ ms to [\d.]+ ms\.`, b.text("latency"))
	b.untilText("totals", "20 messages in")

	b = newTab(t, served(t, "-f", "stdout_messages"))
	connectPage(b)
	b.click("measure")
	b.untilText("latency", "No latency: the server has not sent a text message back")
	require.False(t, eval[bool](b, `document.getElementById("measure").disabled`))
}

// TestPageShowsServer: the figures are those of others, they move, and can be stopped.
func TestPageShowsServer(t *testing.T) {
	url := served(t, "-f", "echo_messages", "--max-message-bytes", "1000")
	b := newTab(t, url)
	value := func(name string) string {
		return fmt.Sprintf(`document.querySelector('[data-value="%s"]').textContent`, name)
	}
	b.until(value("connections") + ` === "0"`)
	connectPage(b)
	b.until(value("connections") + ` === "1"`)
	b.fill("text", "x")
	b.click("send-text")
	b.until(`document.querySelector('[data-note="messages"]').textContent.startsWith("1 in, 1 out")`)
	b.until(`document.querySelectorAll('[data-chart="messages"] polyline').length === 2`)
	b.until(`/now \d.*, at most [1-9]/.test(document.querySelector('[data-chart="connections"]').getAttribute("aria-label"))`)
	require.Regexp(t, `^of \d+$`, eval[string](b, value("workers_most")))
	require.Regexp(t, `^of [\d.]+ [KMG]iB$`, eval[string](b, value("budget_limit")))
	b.fill("text", strings.Repeat("x", 1001))
	b.click("send-text")
	b.until(`document.getElementById("closes").textContent === "1009 message too big1"`)
	b.until(value("violations") + ` === "1"`)

	b.click("pause")
	require.Equal(t, "Paused", b.text("live-state"))
	connectPage(b)
	other := newTab(t, url) // whose figures show that time has gone by
	other.until(value("connections") + ` === "1"`)
	require.Equal(t, "0", eval[string](b, value("connections")))
	b.click("pause")
	b.until(value("connections") + ` === "1"`)
	b.quiet(url)
}

// TestPageComesBack: when the server has gone the live view tries again, and shows the new
// one.
func TestPageComesBack(t *testing.T) {
	first, stop := stoppable(t, nil, "-p", "0", "-f", "echo_messages")
	b := newTab(t, first)
	b.until(`!document.getElementById("figures").hidden`)
	stop()
	b.untilText("live-state", "Cut off (1001)")
	_, port, _ := strings.Cut(strings.TrimPrefix(first, "http://"), ":")
	stoppable(t, nil, "-p", strings.TrimSuffix(port, "/"), "-f", "echo_messages")
	b.untilText("live-state", "Live")
	connectPage(b)
	b.until(`document.querySelector('[data-value="connections"]').textContent === "1"`)
}

// TestPageNeedsToken: where a token is needed the page asks for it, says if it is wrong,
// and shows the server for the right one.
func TestPageNeedsToken(t *testing.T) {
	t.Setenv("WS_LIVE_TOKEN", token)
	url := served(t, "-f", "echo_messages")
	b := newTab(t, url)
	b.until(`!document.getElementById("login").hidden`)
	require.True(t, eval[bool](b, `document.getElementById("figures").hidden`))
	for _, wrong := range []string{"not-the-right-token", "nöt ä token", "знак", ""} {
		b.fill("token", wrong)
		b.do(chromedp.SendKeys(chromedp.ID("token"), kb.Enter))
		b.untilText("token-problem", "does not know")
		eval[string](b, `document.getElementById("token-problem").textContent = ""`)
	}
	b.fill("token", token)
	b.do(chromedp.SendKeys(chromedp.ID("token"), kb.Enter))
	b.until(`!document.getElementById("figures").hidden`)
	require.True(t, eval[bool](b, `document.getElementById("login").hidden`))
	require.Equal(t, "live-title", eval[string](b, `document.activeElement.id`))
	for _, asked := range b.quiet(url) {
		require.NotContains(t, asked, token, "URLs are logged")
	}
}

// TestPageOverTLS: both halves use wss where the page came by https.
func TestPageOverTLS(t *testing.T) {
	e := newEngine(t)
	s := httptest.NewTLSServer(newPage(t, e, page.Config{}).Before(e))
	defer s.Close()
	b := newTab(t, "about:blank")
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error { // the certificate is the test's own
		_, err := cdp.Call(ctx, t, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
		return err
	}), chromedp.Navigate(s.URL))
	b.until(`!document.getElementById("figures").hidden`)
	connectPage(b)
	require.True(t, strings.HasPrefix(eval[string](b, `document.getElementById("url").value`), "wss://"))
	b.until(`document.querySelector('[data-value="connections"]').textContent === "1"`)
	b.click("shut")
	b.untilText("state", "Closed by this page")
}

// TestPageFarAway: where no token would help the page says so, and asks for none.
func TestPageFarAway(t *testing.T) {
	url := served(t, "-f", "echo_messages", "--trusted-proxy", "127.0.0.1")
	b := newTab(t, url)
	b.until(`!document.getElementById("local").hidden`)
	require.True(t, eval[bool](b, `document.getElementById("login").hidden && document.getElementById("figures").hidden`))
	connectPage(b)
	b.quiet(url)
}

// pressEnter is one event, as a keyboard's is, whose default a page can prevent;
// chromedp.KeyEvent makes a character of it whatever the page says.
var pressEnter = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13}
	if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, key); err != nil {
		return err
	}
	key.Type, key.Text = input.DispatchKeyEventTypeKeyUp, ""
	_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, key)
	return err
})

// TestPageByKeyboard: everything can be reached and done by keys alone, and what has the
// focus shows it.
func TestPageByKeyboard(t *testing.T) {
	b := newTab(t, served(t, "-f", "echo_messages"))
	b.until(`!document.getElementById("figures").hidden`)
	press := func(keys string) { b.do(chromedp.KeyEvent(keys)) }
	tabTo := func(id string) {
		t.Helper()
		for range 30 {
			press(kb.Tab)
			require.True(t, eval[bool](b, `getComputedStyle(document.activeElement).outlineStyle !== "none" && parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2`),
				"the focus is seen: %s", eval[string](b, `document.activeElement.outerHTML`))
			if eval[string](b, `document.activeElement.id`) == id {
				return
			}
		}
		t.Fatalf("no way to %s", id)
	}
	press(kb.Tab)
	require.Equal(t, "skip", eval[string](b, `document.activeElement.className`))
	require.True(t, eval[bool](b, `document.activeElement.getBoundingClientRect().top >= 0`), "it shows when it has the focus")
	b.do(pressEnter)
	require.Equal(t, "try", eval[string](b, `document.activeElement.id`))
	tabTo("url")
	tabTo("open")
	b.do(pressEnter)
	b.untilText("state", "Connected")
	require.Equal(t, "text", eval[string](b, `document.activeElement.id`), "where one goes on")
	press("by keys")
	b.do(pressEnter)
	b.untilText("totals", "1 message in, 7 B")
	require.Empty(t, eval[string](b, `document.getElementById("text").value`))
	tabTo("measure")
	press(" ")
	b.untilText("latency", "median")
	tabTo("send-file")
	tabTo("clear")
	b.do(pressEnter)
	b.untilText("totals", "none yet")
	tabTo("pause")
	press(" ")
	require.Equal(t, "Paused", b.text("live-state"))
	for eval[string](b, `document.activeElement.id`) != "shut" {
		b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	}
	b.do(pressEnter)
	b.untilText("state", "Closed by this page")
	require.Equal(t, "open", eval[string](b, `document.activeElement.id`), "the focus does not go with the button")
}

// TestPageThemes: the page follows the system's choice, its text has the contrast that
// WCAG 2 asks of level AA, what is to be operated is seen, and nothing moves for who does
// not want it.
func TestPageThemes(t *testing.T) {
	b := newTab(t, served(t, "-f", "echo_messages"))
	b.until(`!document.getElementById("figures").hidden`)
	backgrounds := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		b.media("prefers-color-scheme", scheme, "prefers-reduced-motion", "reduce")
		require.Equal(t, []string{"0s"}, eval[[]string](b, `[...new Set([...document.querySelectorAll("*")].map((e) => getComputedStyle(e).transitionDuration))]`))
		backgrounds[scheme] = eval[string](b, "getComputedStyle(document.body).backgroundColor")
		for _, state := range []string{"before", "open", "closed"} {
			switch state {
			case "open":
				connectPage(b)
				b.fill("text", "x")
				b.click("send-text")
				b.untilText("totals", "1 message in")
				b.click("send-file")
				b.untilText("problem", "Choose")
			case "closed":
				b.click("shut")
				b.untilText("state", "Closed")
				b.click("clear")
			}
			require.Empty(t, eval[[]string](b, contrasts), "%s, %s", scheme, state)
		}
	}
	require.Equal(t, map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}, backgrounds)
}

// contrasts lists texts that stand out too little: less than 4.5, or 3 for large ones, and
// edges of fields: less than 3. What is disabled is exempt (WCAG 2.1, 1.4.3 and 1.4.11).
const contrasts = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c[3] !== 0) return c;
		}
		return [255, 255, 255];
	};
	const wrong = [];
	for (const e of document.querySelectorAll("body *")) {
		if (!e.checkVisibility() || e.disabled || e.closest("svg")) continue;
		const style = getComputedStyle(e);
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.matches("input, textarea");
		if (own) {
			const size = parseFloat(style.fontSize);
			const least = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
			const got = ratio(parse(style.color), behind(e));
			if (got < least) wrong.push(e.outerHTML.slice(0, 80) + " " + got.toFixed(2));
		}
		if (e.matches("input, textarea")) {
			const got = ratio(parse(style.borderTopColor), behind(e.parentElement));
			if (got < 3) wrong.push("edge of " + e.outerHTML.slice(0, 80) + " " + got.toFixed(2));
		}
	}
	for (const e of document.querySelectorAll("svg .line, .bar")) {
		const got = ratio(parse(getComputedStyle(e)[e.matches(".bar") ? "backgroundColor" : "stroke"]), behind(e.parentElement));
		if (got < 3) wrong.push("chart " + got.toFixed(2));
	}
	return wrong;
})()`

// TestPageNarrow: on a phone nothing has to be moved sideways but the tables in their
// frames, also with large messages in them.
func TestPageNarrow(t *testing.T) {
	b := newTab(t, served(t, "-f", "echo_messages"))
	b.do(chromedp.EmulateViewport(320, 640))
	connectPage(b)
	b.fill("text", strings.Repeat("a-word-without-an-end", 40))
	b.click("send-text")
	b.untilText("totals", "1 message in")
	b.until(`!document.getElementById("figures").hidden`)
	eval[bool](b, `document.querySelectorAll("details").forEach((d) => (d.open = true)) ?? true`)
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, svg, .hidden") && e.checkVisibility() && e.getBoundingClientRect().right > 320.5).map((e) => e.outerHTML.slice(0, 80))`))
	require.LessOrEqual(t, eval[float64](b, "document.documentElement.scrollWidth"), 320.0)
}

// An axNode is an element as assistive technology is told of it.
type axNode struct{ role, name string }

// accessible returns what assistive technology is told of.
func accessible(b *tab) (nodes []axNode) {
	b.t.Helper()
	ctx, cancel := b.within()
	defer cancel()
	tree, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	require.NoError(b.t, err)
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		node := axNode{role: unquote(n.Role)}
		if n.Name != nil {
			node.name = unquote(n.Name)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func unquote(v *accessibility.Value) string { return strings.Trim(string(v.Value), `"`) }

// TestPageForScreenReaders: landmarks, headings, and a name for everything that is operated
// or is a picture; what changes by itself is not read out.
func TestPageForScreenReaders(t *testing.T) {
	b := newTab(t, served(t, "-f", "echo_messages"))
	b.until(`!document.getElementById("figures").hidden`)
	connectPage(b)
	b.fill("text", "x")
	b.click("send-text")
	b.untilText("totals", "1 message in")
	nodes := accessible(b)
	for _, want := range []axNode{
		{"banner", ""}, {"main", ""}, {"heading", "Penstock"},
		{"region", "Try a connection"}, {"heading", "Try a connection"}, {"region", "This server"}, {"heading", "This server"},
		{"textbox", "URL"}, {"textbox", "Subprotocols (optional)"}, {"textbox", "Close code"}, {"textbox", "Reason (optional)"},
		{"textbox", "Message"}, {"button", "Disconnect"}, {"button", "Send text"}, {"button", "Send file"},
		{"button", "Measure latency"}, {"region", "Messages"}, {"columnheader", "Direction"}, {"figure", "Connections"},
	} {
		require.Contains(t, nodes, want)
	}
	operated, pictures := 0, 0
	for _, n := range nodes {
		switch n.role {
		case "button", "textbox", "link", "DisclosureTriangle", "checkbox":
			operated++
			require.NotEmpty(t, n.name, "%v", n)
		case "image", "img":
			pictures++
			require.Contains(t, n.name, "in the last minute: now ")
		}
	}
	require.Greater(t, operated, 10)
	require.Equal(t, 7, pictures)
	require.Equal(t, "en", eval[string](b, "document.documentElement.lang"))
	require.Equal(t, []string{"problem", "state", "latency", "live-state", "token-problem"},
		eval[[]string](b, `[...document.querySelectorAll("[role=status], [role=alert], [role=log], [aria-live]")].map((e) => e.id)`))
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`))
}

// TestPageKeepsLittle: however much comes, the page shows the newest, and stays usable.
func TestPageKeepsLittle(t *testing.T) {
	registry := filters.Stock()
	require.NoError(t, registry.Register("flood", func(filters.Env) (filters.Filter, error) {
		var f filters.Filter
		f.Handler.OnMessage = func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Go(func(ctx context.Context) {
				for i := range 5000 {
					if c.SendWait(ctx, frame.Text, fmt.Appendf(nil, "message %d %s", i, strings.Repeat("x", 1000))) != nil {
						return
					}
				}
			})
		}
		return f, nil
	}))
	b := newTab(t, servedWith(t, registry, "-f", "flood"))
	connectPage(b)
	b.fill("text", "begin")
	b.click("send-text")
	b.untilText("totals", "5,000 messages in")
	got := rows(b)
	require.Len(t, got, 200)
	require.True(t, strings.HasPrefix(got[0][3], "message 4999 "), got[0][3])
}
