package engine

// Cause is the kind of reason for which a connection ended: what to count by,
// where CloseError.Reason is what to read.
type Cause uint8

const (
	CauseHandler      Cause = iota // this side: Conn.Close, or a handler's *CloseError
	CausePeer                      // the peer's close frame
	CauseLost                      // the peer or the network is gone, without a close frame
	CauseViolation                 // the peer broke the protocol: 1002 or 1007
	CauseLimit                     // the peer exceeded a limit: 1008 or 1009
	CauseIdle                      // nothing came for IdleTimeout
	CauseWriteStall                // nothing could be sent for WriteStallTimeout
	CauseCloseTimeout              // the peer did not end the closing handshake within CloseTimeout
	CauseOverflow                  // too much was queued for it, by a class that disconnects or a reply that found no room
	CauseBudget                    // it held too much memory
	CauseError                     // a handler, stream or OnOpen of ours failed, panicked or took too long
	CauseShutdown                  // the engine was shut down
	CauseRefused                   // an interceptor refused a message, by a Refusal that closes
	causes
)

var causeNames = [causes]string{
	"handler", "peer", "lost", "violation", "limit", "idle", "write stall", "close timeout", "overflow", "budget", "error", "shutdown", "refused",
}

// String returns the cause's name in lower case.
func (c Cause) String() string {
	if c < causes {
		return causeNames[c]
	}
	return "unknown cause"
}
