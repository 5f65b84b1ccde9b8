package serve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is where the help breaks lines.
const helpWidth = 110

// writeUsage is what the help shows below the description: examples, and the flags
// under their headings.
func (c *commandLine) writeUsage(cmd *cobra.Command) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "Usage:\n  %s\n\nExamples:\n%s", cmd.UseLine(), cmd.Example)
	for _, title := range append(slices.Clone(groups), "Other") {
		if usages := c.usages(cmd.Flags(), title); usages != "" {
			fmt.Fprintf(b, "\n%s:\n%s", title, usages)
		}
	}
	fmt.Fprintf(b, "\nSettings without a flag, in the environment, or in lower case in a file:\n%s", c.flagless())
	_, err := fmt.Fprint(cmd.OutOrStderr(), b)
	return err
}

// usages returns the flags under one heading.
func (c *commandLine) usages(all *pflag.FlagSet, title string) string {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SortFlags = false
	all.VisitAll(func(flag *pflag.Flag) {
		group := flag.Annotations[groupKey]
		if len(group) == 0 && title == "Other" || slices.Contains(group, title) {
			f.AddFlag(flag)
		}
	})
	return f.FlagUsagesWrapped(helpWidth)
}

// flagless lists the variables without a flag, a few on each line.
func (c *commandLine) flagless() string {
	b, width := new(strings.Builder), 0
	for _, o := range c.options {
		if o.flag != "" {
			continue
		}
		if width+len(o.env) > helpWidth-4 {
			b.WriteByte('\n')
			width = 0
		}
		if width == 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(b, " %s", o.env)
		width += 1 + len(o.env)
	}
	b.WriteByte('\n')
	return b.String()
}

// filterSettings are the variables of stock filters.
var filterSettings = []struct{ filter, text string }{
	{"history", "  history       WS_FILTER_HISTORY_BYTES  what all rooms keep together (default 268435456)\n"},
	{"rate_limit", `  rate_limit    WS_FILTER_RATE        messages and time (default 100/10s)
                WS_FILTER_RATE_BURST  messages at once (default as many as in the rate)
                WS_FILTER_RATE_CLOSE  on: close with 1008 instead of answering 429
`},
	{"session", "  session       WS_FILTER_SESSION_TTL how long data is kept (default 24h)\n"},
	{"worker_relay", "  worker_relay  WORKER_SECRET         what workers must present; required\n"},
}

// describeFilters lists the filters, and the settings of those that have any.
func describeFilters(names []string) string {
	b := new(strings.Builder)
	fmt.Fprintf(b, "  %s\n", strings.Join(names, "\n  "))
	settings := ""
	for _, f := range filterSettings {
		if slices.Contains(names, f.filter) {
			settings += f.text
		}
	}
	if settings != "" {
		fmt.Fprintf(b, "\nSettings of filters, in the environment:\n\n%s", settings)
	}
	return b.String()
}
