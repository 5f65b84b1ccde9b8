package filters_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

func nothing(filters.Env) (filters.Filter, error) { return filters.Filter{}, nil }

func TestRegister(t *testing.T) {
	var r filters.Registry
	require.Empty(t, r.Names())
	require.NoError(t, r.Register("b", nothing))
	require.NoError(t, r.Register("a", nothing))
	require.Error(t, r.Register("a", nothing), "taken")
	require.Error(t, r.Register("", nothing))
	require.Error(t, r.Register(" ", nothing))
	require.Error(t, r.Register("c", nil))
	require.Equal(t, []string{"a", "b"}, r.Names())
}

func TestStockIsAValue(t *testing.T) {
	one, other := filters.Stock(), filters.Stock()
	require.NoError(t, one.Register("mine", nothing))
	require.NoError(t, other.Register("mine", nothing), "registries share state")
	require.Equal(t, []string{"broadcast_messages", "broadcast_messages_by_token", "broadcast_pubsub", "echo_messages", "history", "mine", "rate_limit", "rooms", "session", "stdout_messages", "stdout_rawdata", "stream_messages", "worker_relay"}, one.Names())
	require.NoError(t, one.Check([]string{filters.Default}))
}

func TestUnknownName(t *testing.T) {
	known := filters.Stock().Names()
	for given, near := range map[string]string{
		"brodcast_messages":    "broadcast_messages",
		"broadcast-messages":   "broadcast_messages",
		"echo":                 "echo_messages",
		"Echo_Messages":        "echo_messages",
		"ehco_mesages":         "echo_messages",
		"completely_different": "",
		"":                     "",
	} {
		_, err := filters.Stock().Build([]string{"echo_messages", given}, filters.Env{})
		var unknown *filters.UnknownError
		require.ErrorAs(t, err, &unknown)
		require.Equal(t, &filters.UnknownError{Name: given, Known: known, Near: near}, unknown)
	}
}

func TestUnknownErrorText(t *testing.T) {
	err := &filters.UnknownError{Name: "ech", Known: []string{"broadcast", "echo"}, Near: "echo"}
	require.Equal(t, `unknown filter "ech" (did you mean echo?); known: broadcast, echo`, err.Error())
	err = &filters.UnknownError{Name: "x"}
	require.Equal(t, `unknown filter "x"; known: none`, err.Error())
}

func TestConstructorError(t *testing.T) {
	failure := errors.New("no secret")
	r := filters.Stock()
	require.NoError(t, r.Register("bad", func(filters.Env) (filters.Filter, error) { return filters.Filter{}, failure }))
	_, err := r.Build([]string{"bad"}, filters.Env{Engine: newEngine(t, engine.Config{})})
	require.ErrorIs(t, err, failure)
}

func TestEnvWithoutEnginePanics(t *testing.T) {
	require.Panics(t, func() { _, _ = filters.Stock().Build(nil, filters.Env{}) })
}

func TestEnvDefaults(t *testing.T) {
	e := newEngine(t, engine.Config{})
	r := new(filters.Registry)
	var got filters.Env
	require.NoError(t, r.Register("look", func(env filters.Env) (filters.Filter, error) { got = env; return filters.Filter{}, nil }))
	_, err := r.Build([]string{"look"}, filters.Env{Engine: e})
	require.NoError(t, err)
	require.Same(t, e, got.Engine)
	require.NotNil(t, got.Hub)
	require.NotNil(t, got.Logger)
}
