package page_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/cmd/serve"
	"github.com/penstock-ws/penstock/engine/filters"
)

// patience is how long something may take that should happen at once.
const patience = 30 * time.Second

// chromium is the one browser of all tests: it starts with the first that needs it.
var chromium struct {
	once   sync.Once
	ctx    context.Context
	cancel []context.CancelFunc
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, cancel := range slices.Backward(chromium.cancel) {
		cancel()
	}
	os.Exit(code)
}

// features are those that the browser does without: what chromedp leaves out, and the
// back/forward cache. With that, as of Chromium 156.0.8078.79, a page that has been left lives
// on, and its connection with it.
const features = "Translate,BlinkGenPropertyTrees,BackForwardCache"

// browser returns the browser, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	at := slices.IndexFunc(names, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	if at < 0 {
		t.Skipf("no Chromium: install one of %v, as with apt-get install -y chromium", names)
	}
	chromium.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(names[at]), chromedp.DisableGPU, chromedp.Flag("disable-features", features), chromedp.Flag("disable-lcd-text", true))
		if os.Geteuid() == 0 { // whom its sandbox does not let in
			options = append(options, chromedp.NoSandbox)
		}
		allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
		chromium.cancel = append(chromium.cancel, cancel)
		chromium.ctx, cancel = chromedp.NewContext(allocator)
		chromium.cancel = append(chromium.cancel, cancel)
		chromium.err = chromedp.Do(chromium.ctx)
	})
	require.NoError(t, chromium.err)
	return chromium.ctx
}

// A tab is a page of the browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // that the console has shown
	asked    []string // URLs of everything that was loaded or connected to
}

// newTab opens a tab that is closed when the test ends, with a page in it.
func newTab(t *testing.T, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t))
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.note))
	b.do(chromedp.Navigate(url))
	return b
}

// note keeps what the page is asked about later.
func (b *tab) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *network.EventWebSocketCreated:
		b.asked = append(b.asked, e.URL)
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			b.problems = append(b.problems, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, string(e.Type))
	}
}

// within bounds what the browser is asked to do.
func (b *tab) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, patience)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := b.within()
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// eval returns what an expression, or the promise that it is, comes to.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := b.within()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression)
	return v
}

// text returns the text of an element.
func (b *tab) text(id string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !eval[bool](b, "Boolean("+expression+")") {
		if time.Now().After(deadline) {
			b.t.Fatalf("this has not become true: %s\n%s", expression, eval[string](b, "document.body.innerText"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// untilText waits until an element's text contains part.
func (b *tab) untilText(id, part string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, part))
}

// click clicks where an element is, so it has to be there to be seen.
func (b *tab) click(id string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.ID(id)))
}

// fill puts text in the place of what stands in a field.
func (b *tab) fill(id, text string) {
	b.t.Helper()
	eval[string](b, fmt.Sprintf("document.getElementById(%q).value = %q", id, text))
}

// media has the page see media features, in pairs of name and value.
func (b *tab) media(pairs ...string) {
	b.t.Helper()
	var p emulation.SetEmulatedMediaParams
	for pair := range slices.Chunk(pairs, 2) {
		p.Features = append(p.Features, &emulation.MediaFeature{Name: pair[0], Value: pair[1]})
	}
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, p)
		return err
	}))
}

// quiet asserts that nothing was shown on the console, and nothing asked of another
// origin than that of url, and returns all that was asked.
func (b *tab) quiet(url string) (asked []string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.problems)
	require.NotEmpty(b.t, b.asked)
	_, host, _ := strings.Cut(url, "://")
	for _, one := range b.asked {
		_, rest, _ := strings.Cut(one, "://")
		require.True(b.t, strings.HasPrefix(rest, host), "%s is not of %s", one, host)
	}
	return slices.Clone(b.asked)
}

// served runs "penstock serve" until the test ends, and returns the URL of its page.
func served(t *testing.T, args ...string) (url string) {
	t.Helper()
	return servedWith(t, nil, args...)
}

// servedWith knows filters of the test's.
func servedWith(t *testing.T, registry *filters.Registry, args ...string) (url string) {
	t.Helper()
	url, _ = stoppable(t, registry, append([]string{"-p", "0"}, args...)...)
	return url
}

// stoppable can be ended before the test is over.
func stoppable(t *testing.T, registry *filters.Registry, args ...string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	cmd := serve.NewCommand(serve.Config{Filters: registry})
	cmd.SetArgs(args)
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() { // until cancel
		err := cmd.ExecuteContext(ctx)
		_ = in.CloseWithError(err)
		done <- err
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	go io.Copy(io.Discard, lines) // ends with the command; filters may print
	return "http" + strings.TrimPrefix(strings.TrimSpace(line), "listening on ws"), stop
}
