package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what it was built from and with",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version(buildInfo()))
			return err
		},
	}
}

// buildInfo is what the program has been built from; empty if it does not know.
func buildInfo() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{}
}

// version is one line: version, commit if it is known, and Go's version.
func version(info *debug.BuildInfo) string {
	name := info.Main.Version
	if name == "" {
		name = "(unknown)"
	}
	built := map[string]string{}
	for _, s := range info.Settings {
		built[s.Key] = s.Value
	}
	commit := ""
	if revision := built["vcs.revision"]; revision != "" {
		commit = " " + revision[:min(12, len(revision))]
		if built["vcs.modified"] == "true" {
			commit += " with changes"
		}
	}
	return fmt.Sprintf("penstock %s%s %s %s/%s", name, commit, info.GoVersion, built["GOOS"], built["GOARCH"])
}
