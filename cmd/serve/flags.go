package serve

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
	"github.com/penstock-ws/penstock/engine"
)

// A commandLine is what the flags say.
type commandLine struct {
	options []*option
	layer   layer
	file    string
	print   bool
	flags   *pflag.FlagSet
	args    int // arguments that have been taken for filters
}

// groupKey annotates a flag with its heading.
const groupKey = "penstock-group"

func newCommandLine(f *pflag.FlagSet) *commandLine {
	c := &commandLine{options: options(), layer: make(layer), flags: f}
	f.SortFlags = false
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	defaults := variables(engine.Config{})
	for _, o := range c.options {
		if o.flag == "" {
			continue
		}
		var value pflag.Value = &flagValue{o, c}
		if o.secret {
			value = &secretValue{flagValue{o, c}}
		}
		flag := f.VarPF(value, o.flag, o.short, o.help(defaults))
		flag.Annotations = map[string][]string{groupKey: {o.group}}
		if o.toggle {
			flag.NoOptDefVal = "true"
		}
	}
	file := f.VarPF(&fileName{c}, "config", "c", "configuration file, JSON; flags win over it, and it wins over the environment")
	file.Annotations = map[string][]string{groupKey: {groupRun}}
	f.BoolVar(&c.print, "print-config", false, "print what holds and where it comes from, and start nothing")
	f.Lookup("print-config").Annotations = map[string][]string{groupKey: {groupRun}}
	return c
}

// rest takes the arguments that are not among the filters yet.
func (c *commandLine) rest(args []string) {
	if len(args) > c.args {
		c.add(c.filters(), args[c.args:]...)
	}
	c.args = len(args)
}

// filters returns the option that takes the arguments.
func (c *commandLine) filters() *option {
	return c.options[slices.IndexFunc(c.options, func(o *option) bool { return o.field == "filters" })]
}

// add notes values of a flag.
func (c *commandLine) add(o *option, values ...string) {
	g := c.layer[o]
	g.from = "flag --" + o.flag
	if !o.list {
		g.values = nil // the last one holds
	}
	g.values = append(g.values, values...)
	c.layer[o] = g
}

// flagValue is an option as a flag.
type flagValue struct {
	o *option
	c *commandLine
}

// Type is what the help calls the flag's value.
func (v *flagValue) Type() string {
	if v.o.toggle {
		return "bool" // of which the help says nothing
	}
	return v.o.arg
}

// String is empty: the help has the default.
func (v *flagValue) String() string { return "" }

func (v *flagValue) Allowed() string { return v.o.right() }

// Set is called while the flag set parses, and so knows what came before.
func (v *flagValue) Set(s string) error {
	s = v.o.normal(s)
	if v.o == v.c.filters() {
		v.c.rest(v.c.flags.Args())
	} else if v.o.wrong(s) != "" {
		return flagvalue.ErrNotAllowed
	}
	v.c.add(v.o, s)
	return nil
}

// secretValue is a flagValue that no error may show.
type secretValue struct{ flagValue }

// Secret says so.
func (v *secretValue) Secret() {}

// fileName is the flag -c.
type fileName struct{ c *commandLine }

// Type is what the help calls the flag's value.
func (v *fileName) Type() string    { return "file" }
func (v *fileName) String() string  { return "" }
func (v *fileName) Allowed() string { return "the name of a file" }

// Set takes the name. "-cert" is, to a GNU-style command line, -c with "ert".
func (v *fileName) Set(s string) error {
	if s == "ert" || strings.HasPrefix(s, "ert=") {
		return errors.New("-cert is written --cert")
	}
	if s == "" {
		return flagvalue.ErrNotAllowed
	}
	v.c.file = s
	return nil
}
