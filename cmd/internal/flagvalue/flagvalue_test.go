package flagvalue

import (
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// A token is a value whose text no error may show.
type token struct{}

func (v *token) Type() string     { return "token" }
func (v *token) Allowed() string  { return "what you were given" }
func (v *token) Secret()          {}
func (v *token) String() string   { return "" }
func (v *token) Set(string) error { return ErrNotAllowed }

// TestMistake: one line that names the flag, its value unless that is a secret, and what is
// allowed.
func TestMistake(t *testing.T) {
	for _, tc := range []struct{ arg, want string }{
		{"--count=0", `--count="0": allowed is a whole number from 1 to 10`},
		{"--count=11", `--count="11": allowed is a whole number from 1 to 10`},
		{"--count=x", `--count="x": allowed is a whole number from 1 to 10`},
		{"--wait=1h", `--wait="1h": allowed is a duration like 500ms or 10s, from 1s to 1m0s, or forever`},
		{"--wait=0", `--wait="0": allowed is a duration like 500ms or 10s, from 1s to 1m0s, or forever`},
		{"--lasts=forever", `--lasts="forever": allowed is a duration like 500ms or 10s, from 0s to 1m0s`},
		{"--lasts=", `--lasts="": allowed is a duration like 500ms or 10s, from 0s to 1m0s`},
		{"--on=perhaps", `--on="perhaps": allowed is true or false`},
		{"--token=s3cret", `--token: allowed is what you were given`},
		{"--name", `--name has no value: allowed is a string`},
		{"--nonsense", `unknown flag "nonsense": allowed are those that "try --help" lists`},
		{"--count=10", ""},
		{"--wait=forever", ""},
		{"--lasts=0s", ""},
	} {
		var got error
		cmd := &cobra.Command{Use: "try", Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
		cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { got = Mistake(cmd, err); return got })
		var count int
		var wait, lasts time.Duration
		f := cmd.Flags()
		f.Var(Number(&count, 1, 10), "count", "")
		f.Var(Span(&wait, time.Second, time.Minute, "forever"), "wait", "")
		f.Var(Span(&lasts, 0, time.Minute, ""), "lasts", "")
		f.Var(&token{}, "token", "")
		f.Bool("on", false, "")
		f.String("name", "", "")
		cmd.SetArgs([]string{tc.arg})
		err := cmd.Execute()
		if tc.want == "" {
			require.NoError(t, err, tc.arg)
			continue
		}
		require.EqualError(t, got, tc.want)
	}
}

// TestWhatIsSet: the value, the word for none, and nothing in the help for zero.
func TestWhatIsSet(t *testing.T) {
	var n int
	var d time.Duration
	number, span := Number(&n, 0, 10), Span(&d, 0, time.Minute, "off")
	require.Empty(t, number.String()+span.String())
	require.NoError(t, number.Set("7"))
	require.NoError(t, span.Set("30s"))
	require.Equal(t, 7, n)
	require.Equal(t, 30*time.Second, d)
	require.Equal(t, "7 30s", number.String()+" "+span.String())
	require.NoError(t, span.Set("off"))
	require.EqualValues(t, -1, d)
	require.Equal(t, "off", span.String())
	require.Error(t, number.Set("11"))
	require.Equal(t, 7, n)
}
