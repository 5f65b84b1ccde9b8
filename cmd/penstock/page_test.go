package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestServePage: docs/serve.md has every flag, with its field, its variable and its
// default, and no other; its file works.
func TestServePage(t *testing.T) {
	text, err := os.ReadFile("../../docs/serve.md")
	require.NoError(t, err)
	page := string(text)
	_, help, _ := outcome(t, nil, "serve", "-h")
	rows := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?m)^\\| (?:`-\\w`, )?`--([a-z-]+)` \\|(.*?)\\|(.*?)\\|(.*?)\\|").FindAllStringSubmatch(page, -1) {
		rows[m[1]] = []string{strings.TrimSpace(m[2]), strings.TrimSpace(m[3]), strings.TrimSpace(m[4])}
	}
	var flags []string
	for _, m := range regexp.MustCompile(`(?m)^  (?:-\w, |    )--([a-z-]+)`).FindAllStringSubmatch(help, -1) {
		if m[1] != "help" {
			flags = append(flags, m[1])
		}
	}
	require.Greater(t, len(flags), 20, "the flags have been found")
	settings := holds(t, nil)
	for _, flag := range flags {
		row := rows[flag]
		require.NotNil(t, row, flag)
		if row[0] == "" {
			continue
		}
		held, ok := settings[strings.Trim(row[0], "`")]
		require.True(t, ok, "--%s: no field %s", flag, row[0])
		require.Contains(t, help, "environment "+strings.Trim(row[1], "`")+")")
		if regexp.MustCompile(`^\S+$`).MatchString(row[2]) && row[2] != "none" && held[0] != "-" {
			require.Equal(t, row[2], held[0], flag)
		}
		delete(rows, flag)
	}
	require.Len(t, rows, 2, "but --config and --print-config: %v", rows)

	_, block, _ := strings.Cut(page, "```json\n")
	block, _, _ = strings.Cut(block, "```")
	got := holds(t, nil, "-c", file(t, "page.json", block))
	require.Equal(t, "65536", got["max_ws_message_bytes"][0])
	require.Equal(t, "20s", got["ws_ping_interval"][0])
	for _, name := range []string{"rate_limit", "broadcast_messages_by_token", "stdout_rawdata", "history"} {
		require.Contains(t, page, "| `"+name+"` |")
	}
}

// TestFilterPage: the code of docs/writing-filters.md is that of the example.
func TestFilterPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/writing-filters.md")
	require.NoError(t, err)
	example, err := os.ReadFile("../serve/example_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 2)
	for _, block := range blocks {
		require.Contains(t, string(example), block[1])
	}
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
