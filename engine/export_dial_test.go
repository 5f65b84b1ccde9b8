package engine

// For tests outside of the package.
var (
	ErrResponse     = errResponse
	ErrLongResponse = errLongResponse
)
