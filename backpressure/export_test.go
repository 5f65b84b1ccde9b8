package backpressure

// Bounds that tests go up to and beyond.
const (
	SmallMessage = smallMessage
	ControlLimit = controlLimit
	Turn         = turn
)
