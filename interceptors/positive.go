package interceptors

import (
	"fmt"
	"time"
)

// positive returns the value of a Config's field, or its default if that is zero. A
// negative one is a mistake in the program.
func positive[T int | time.Duration](field string, value, otherwise T) T {
	if value < 0 {
		panic(fmt.Sprintf("interceptors: %s is %v: it must be positive, or 0 for %v", field, value, otherwise))
	}
	if value == 0 {
		return otherwise
	}
	return value
}
