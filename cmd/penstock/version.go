package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what it was built from and with",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			return writeVersion(cmd.OutOrStdout(), info)
		},
	}
}

// writeVersion writes one line: version, commit if it is known, and Go's version.
func writeVersion(w io.Writer, info *debug.BuildInfo) error {
	version := info.Main.Version
	if version == "" {
		version = "(unknown)"
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
	_, err := fmt.Fprintf(w, "penstock %s%s %s %s/%s\n", version, commit, info.GoVersion, built["GOOS"], built["GOARCH"])
	return err
}
