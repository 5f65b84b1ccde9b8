package interceptors

// fewKeys is how many keys are searched one by one, which up to here costs no
// more than a map's hash, and kept in memory that Reset does not give back: 32
// bytes a key.
const fewKeys = 8

// metadata is a small map: its first keys stand in a slice, and only a run that
// sets more of them pays for a real one.
type metadata struct {
	few  []metadatum
	many map[string]any
}

type metadatum struct {
	key   string
	value any
}

func (m *metadata) set(key string, value any) {
	for i := range m.few {
		if m.few[i].key == key {
			m.few[i].value = value
			return
		}
	}
	if len(m.few) < fewKeys {
		m.few = append(m.few, metadatum{key: key, value: value})
		return
	}
	if m.many == nil {
		m.many = make(map[string]any)
	}
	m.many[key] = value
}

func (m *metadata) get(key string) (any, bool) {
	for i := range m.few {
		if m.few[i].key == key {
			return m.few[i].value, true
		}
	}
	value, ok := m.many[key]
	return value, ok
}

// reset forgets all keys, and lets go of what the values refer to.
func (m *metadata) reset() {
	clear(m.few)
	m.few, m.many = m.few[:0], nil
}
