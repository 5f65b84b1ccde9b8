package interceptors

// attribute is one link of a message's persistent list of attributes, the
// latest first. A link never changes, so messages that branched off one another
// share the links that they have in common. nil is the empty list.
type attribute struct {
	key   string
	value any
	next  *attribute
}

func (a *attribute) with(key string, value any) *attribute {
	return &attribute{key: key, value: value, next: a}
}

func (a *attribute) lookup(key string) (any, bool) {
	for ; a != nil; a = a.next {
		if a.key == key {
			return a.value, true
		}
	}
	return nil, false
}
