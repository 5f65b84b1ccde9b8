package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestServePage: docs/serve.md has every filter that the command has, and no other.
func TestServePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/serve.md")
	require.NoError(t, err)
	_, help, _ := outcome(t, nil, "serve", "-h")
	_, list, _ := strings.Cut(help, "Filters that can be named:\n\n")
	list, _, _ = strings.Cut(list, "\n\n")
	_, table, _ := strings.Cut(string(page), "## Filters")
	table, _, _ = strings.Cut(table, "\n## ")
	var filters []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		filters = append(filters, m[1])
	}
	require.Greater(t, len(filters), 8, "the filters have been found")
	require.ElementsMatch(t, strings.Fields(list), filters)
}

// TestDeployment: the unit starts a command that the program has, with a good
// configuration; so does the image.
func TestDeployment(t *testing.T) {
	unit, err := os.ReadFile("../../docs/deploy/penstock.service")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/penstock serve (.*)$`).FindStringSubmatch(string(unit))
	require.NotNil(t, line)
	args := strings.ReplaceAll(line[1], "/etc/penstock/config.json", file(t, "config.json", `{"filters": ["rooms"]}`))
	require.Equal(t, "rooms", holds(t, nil, strings.Fields(args)...)["filters"][0])

	image, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	env := regexp.MustCompile(`(?m)^ENV (\S+)$`).FindStringSubmatch(string(image))
	require.NotNil(t, env)
	require.Equal(t, [2]string{"0.0.0.0", "environment WS_HOST"}, holds(t, []string{env[1]})["host"])
	require.Contains(t, string(image), "distroless/static-debian12:nonroot")
}
