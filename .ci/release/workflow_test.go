package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A workflow is what a test looks at of one.
type workflow struct {
	Name        string
	Permissions map[string]string
	Jobs        map[string]struct {
		RunsOn         string `yaml:"runs-on"`
		TimeoutMinutes int    `yaml:"timeout-minutes"`
		Steps          []step
	}
}

// A step is one of a job.
type step struct {
	Uses, Run string
	With      map[string]any
}

// TestWorkflows: they are YAML of the right form, hold no rights by default, end by
// themselves, use actions of a version that is fixed, see the tags, and run what a contributor runs.
func TestWorkflows(t *testing.T) {
	root, err := repository()
	require.NoError(t, err)
	folder := filepath.Join(root, ".github", "workflows")
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	runs := map[string][]string{}
	for _, f := range files {
		var w workflow
		require.NoError(t, yaml.Unmarshal(read(t, filepath.Join(folder, f.Name())), &w), f.Name())
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, f.Name())
		require.NotEmpty(t, w.Jobs, f.Name())
		for name, job := range w.Jobs {
			require.NotEmpty(t, job.RunsOn, name)
			require.Positive(t, job.TimeoutMinutes, name)
			require.True(t, slices.ContainsFunc(job.Steps, func(s step) bool { return s.With["fetch-depth"] == 0 }), "%s: the version is made of tags", name)
			for _, step := range job.Steps {
				require.NotEqual(t, step.Uses == "", step.Run == "", "%s: a step either uses or runs", name)
				if step.Uses != "" {
					require.Regexp(t, regexp.MustCompile(`^[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})$`), step.Uses)
				}
				runs[w.Name] = append(runs[w.Name], step.Run)
			}
		}
	}
	require.Contains(t, runs["ci"], "bash .ci/run")
	require.Contains(t, runs["release"], "make release verify")
}
