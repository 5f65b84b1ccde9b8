package serve

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A variable that is misspelt is told of, without its value; those of a filter that is not
// there, of other programs and settings are not.
func TestUnknownVariable(t *testing.T) {
	for name, value := range map[string]string{
		"WS_MAX_CONECTIONS": "geheim", "MAX_WS_MESAGE_BYTES": "1", "WS_MAX_CONNECTIONS": "10",
		"WS_FILTER_RATE": "1/1s", "WS_EMPTY": "", "XWS_OTHER": "1",
	} {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log bytes.Buffer
	cmd := NewCommand(Config{})
	cmd.SetArgs([]string{"-p", "0"})
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetErr(&log)
	require.NoError(t, cmd.ExecuteContext(ctx))
	for name, told := range map[string]bool{
		"variable=WS_MAX_CONECTIONS": true, "variable=MAX_WS_MESAGE_BYTES": true, "WS_MAX_CONNECTIONS": false,
		"WS_FILTER_RATE": false, "WS_EMPTY": false, "XWS_OTHER": false, "geheim": false,
	} {
		require.Equal(t, told, bytes.Contains(log.Bytes(), []byte(name)), "%s in %s", name, log.String())
	}
}
