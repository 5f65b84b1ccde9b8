package frame_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame"
)

var allErrors = []*frame.Error{
	frame.ErrReservedBits, frame.ErrUnknownOpcode, frame.ErrFragmentedControl, frame.ErrUnexpectedContinuation,
	frame.ErrExpectedContinuation, frame.ErrTooManyFragments, frame.ErrUnmasked, frame.ErrMasked,
	frame.ErrControlTooLong, frame.ErrLengthTopBit, frame.ErrLengthNotMinimal, frame.ErrMessageTooBig,
	frame.ErrCloseLength, frame.ErrCloseCode, frame.ErrCloseReasonUTF8, frame.ErrInvalidUTF8, frame.ErrCompressedData,
}

func TestErrorTable(t *testing.T) {
	reasons := map[string]bool{}
	for _, e := range allErrors {
		assert.NoError(t, frame.ValidateClose(e.Code, e.Reason), "it must be fit for the wire")
		assert.True(t, strings.HasPrefix(e.Section, "RFC "), e.Section)
		assert.False(t, reasons[e.Reason], "two errors say %q", e.Reason)
		reasons[e.Reason] = true
		assert.ErrorIs(t, fmt.Errorf("wrapped: %w", e), e)
	}
	assert.Equal(t, "frame: message too big (1009, RFC 6455 §7.4.1)", frame.ErrMessageTooBig.Error())
}

func TestErrorCodes(t *testing.T) {
	other := map[*frame.Error]frame.CloseCode{
		frame.ErrTooManyFragments: frame.ClosePolicyViolation,
		frame.ErrMessageTooBig:    frame.CloseMessageTooBig,
		frame.ErrCloseReasonUTF8:  frame.CloseInvalidPayload,
		frame.ErrInvalidUTF8:      frame.CloseInvalidPayload,
		frame.ErrCompressedData:   frame.CloseInvalidPayload,
	}
	for _, e := range allErrors {
		want, ok := other[e]
		if !ok {
			want = frame.CloseProtocolError
		}
		assert.Equal(t, want, e.Code, e.Reason)
	}
	var e *frame.Error
	_, _, err := frame.ParseClose([]byte{1})
	assert.True(t, errors.As(err, &e))
}
