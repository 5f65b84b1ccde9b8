package penstockprometheus_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dashboard is as much of Grafana's format as must be right for it to load.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any // a string, or an object with one
			Datasource datasource
		}
	}
	Panels []panel
}

type datasource struct{ Type, UID string }

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource datasource
	GridPos    *struct{ H, W, X, Y int }
	Targets    []struct {
		RefID      string `json:"refId"`
		Expr       string
		Datasource datasource
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(page(t, "grafana/penstock.json")), &d))
	return d
}

// Grafana loads it: panels with ids of their own that do not overlap in its grid, and
// a data source that whoever imports it chooses.
func TestDashboardStructure(t *testing.T) {
	d := readDashboard(t)
	require.Equal(t, "penstock", d.UID)
	require.NotEmpty(t, d.Title)
	require.GreaterOrEqual(t, d.SchemaVersion, 39)
	require.Equal(t, "datasource", d.Templating.List[0].Type)
	require.Equal(t, "datasource", d.Templating.List[0].Name)
	require.Equal(t, "prometheus", d.Templating.List[0].Query)
	ours := datasource{"prometheus", "${datasource}"}
	for _, v := range d.Templating.List[1:] {
		require.Equal(t, ours, v.Datasource, v.Name)
	}
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID] || p.ID == 0, "%s: id %d", p.Title, p.ID)
		ids[p.ID] = true
		require.NotNil(t, p.GridPos, p.Title)
		g := *p.GridPos
		require.True(t, g.W > 0 && g.H > 0 && g.X >= 0 && g.Y >= 0 && g.X+g.W <= 24, "%s: %+v", p.Title, g)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, cells[[2]int{x, y}], "%s overlaps", p.Title)
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			require.Empty(t, p.Targets)
			continue
		}
		require.Contains(t, []string{"timeseries", "stat"}, p.Type)
		require.Equal(t, ours, p.Datasource, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		refs := map[string]bool{}
		for _, q := range p.Targets {
			require.Equal(t, ours, q.Datasource, p.Title)
			require.False(t, refs[q.RefID] || q.RefID == "", "%s: refId %q", p.Title, q.RefID)
			refs[q.RefID] = true
		}
	}
	require.Greater(t, len(d.Panels), 15)
}

// Every expression asks for metrics, and labels of them, that a scrape has; and every
// metric is shown.
func TestDashboardAsksForWhatThereIs(t *testing.T) {
	scraped := exercised(t)
	names := map[string]bool{}
	for name, f := range scraped {
		names[name] = true
		if f.Metric[0].Histogram != nil {
			names[name+"_bucket"], names[name+"_count"], names[name+"_sum"] = true, true, true
		}
	}
	var exprs []string
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			exprs = append(exprs, q.Expr)
		}
	}
	for _, v := range d.Templating.List[1:] {
		exprs = append(exprs, v.Query.(map[string]any)["query"].(string))
	}
	require.Greater(t, len(exprs), 25)
	all := strings.Join(exprs, "\n")
	metric := regexp.MustCompile(`\bpenstock_\w+`)
	for _, expr := range exprs {
		found := metric.FindAllString(expr, -1)
		require.NotEmpty(t, found, expr)
		for _, name := range found {
			require.True(t, names[name], "%s: there is no %s", expr, name)
		}
		require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), expr)
		for _, m := range regexp.MustCompile(`by \((\w+)\)`).FindAllStringSubmatch(expr, -1) {
			if label := m[1]; label != "instance" && label != "le" {
				require.Contains(t, documented(t)[strings.TrimSuffix(strings.TrimSuffix(found[0], "_count"), "_bucket")], label, expr)
			}
		}
	}
	for name := range scraped {
		require.Contains(t, all, name, "nobody looks at it")
	}
}
