package deflate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame/deflate"
)

func TestAccept(t *testing.T) {
	const s = "permessage-deflate; server_no_context_takeover"
	full := deflate.Params{ServerBits: 15, ClientBits: 15}
	for _, row := range []struct {
		section string
		lines   []string
		want    deflate.Params
		err     error
	}{
		{"7692 5.1", nil, deflate.Params{}, nil},
		{"2616 2.1", []string{""}, deflate.Params{}, nil},
		{"7692 7.1.1.1", []string{s}, full, nil},
		{"7692 7.1.1.2", []string{s + "; client_no_context_takeover"}, full, nil},
		{"7692 7.1.2.1", []string{s + "; server_max_window_bits=8"}, deflate.Params{ServerBits: 8, ClientBits: 15}, nil},
		{"7692 7.1.2.2", []string{s + "; client_max_window_bits=9"}, deflate.Params{ServerBits: 15, ClientBits: 9}, nil},
		{"7692 7.1.2", []string{s + `; client_max_window_bits="10"; server_max_window_bits=12`}, deflate.Params{ServerBits: 12, ClientBits: 10}, nil},
		{"2616 2.1", []string{strings.ToUpper(s)}, full, nil},

		{"7692 7.1.1.1", []string{"permessage-deflate"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.1.1", []string{"permessage-deflate; client_no_context_takeover"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.1.1", []string{"permessage-deflate; server_no_context_takeover=1"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.1.2", []string{s + "; client_no_context_takeover=1"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.2.1", []string{s + "; server_max_window_bits"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.2.1", []string{s + "; server_max_window_bits=7"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.2.1", []string{s + "; server_max_window_bits=16"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.2.2", []string{s + "; client_max_window_bits"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1.2.2", []string{s + "; client_max_window_bits=08"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1", []string{s + "; unknown"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1", []string{s + "; server_no_context_takeover"}, deflate.Params{}, deflate.ErrAnswer},
		{"7692 7.1", []string{s + "; server_max_window_bits=9; server_max_window_bits=9"}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 4.1", []string{"foo"}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 4.1", []string{"x-" + s}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 4.1", []string{s + ", foo"}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 4.1", []string{s + ", " + s}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 11.3.2", []string{s, ""}, deflate.Params{}, deflate.ErrAnswer},
		{"6455 11.3.2", []string{s, s}, deflate.Params{}, deflate.ErrAnswer},
	} {
		t.Run(row.section+"/"+strings.Join(row.lines, "|"), func(t *testing.T) {
			p, ok, err := deflate.Accept(row.lines)
			require.ErrorIs(t, err, row.err)
			assert.Equal(t, row.want, p)
			assert.Equal(t, row.want != deflate.Params{}, ok)
		})
	}
}

func TestAcceptSyntax(t *testing.T) {
	_, ok, err := deflate.Accept([]string{"permessage-deflate;"})
	var e *deflate.SyntaxError
	require.ErrorAs(t, err, &e)
	assert.False(t, ok)
}

// Any server may accept the offer, ours does.
func TestOffer(t *testing.T) {
	p, answer, ok, err := deflate.Negotiate([]string{deflate.Offer})
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, deflate.Params{ServerBits: 15, ClientBits: 15}, p)
	assert.Equal(t, bare, answer)
	for _, name := range []string{"server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits"} {
		assert.Contains(t, deflate.Offer, "; "+name)
	}
}
