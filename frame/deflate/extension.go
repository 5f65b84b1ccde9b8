package deflate

// extension is one element of Sec-WebSocket-Extensions (RFC 6455 §9.1).
type extension struct {
	name   string
	params []param
}

// param is one of its parameters; a quoted value stands unquoted here.
type param struct {
	name, value string
	hasValue    bool
}

// parseExtensions reads all lines of the header in order. Empty elements count
// for nothing, lines of nothing else included (RFC 2616 §2.1, the "#rule").
func parseExtensions(lines []string) (all []extension, err error) {
	for i, line := range lines {
		p := parser{line: i, s: line}
		for p.nextElement() {
			e, err := p.extension()
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// parser stands at byte pos of one header line.
type parser struct {
	line, pos int
	s         string
}

// nextElement goes to the beginning of an element, if there is another.
func (p *parser) nextElement() bool {
	for p.skipSpace(); p.take(','); {
		p.skipSpace()
	}
	return p.pos < len(p.s)
}

// extension reads name *( ";" parameter ), up to the comma or the line's end.
func (p *parser) extension() (e extension, err error) {
	if e.name, err = p.token("an extension's name expected"); err != nil {
		return extension{}, err
	}
	for p.skipSpace(); p.take(';'); p.skipSpace() {
		p.skipSpace()
		one, err := p.param()
		if err != nil {
			return extension{}, err
		}
		e.params = append(e.params, one)
	}
	if p.pos < len(p.s) && p.s[p.pos] != ',' {
		return extension{}, p.fail("a comma or semicolon expected")
	}
	return e, nil
}

func (p *parser) param() (one param, err error) {
	if one.name, err = p.token("a parameter's name expected"); err != nil {
		return param{}, err
	}
	p.skipSpace()
	if !p.take('=') {
		return one, nil
	}
	p.skipSpace()
	one.hasValue = true
	if p.take('"') {
		one.value, err = p.quoted()
	} else {
		one.value, err = p.token("a parameter's value expected")
	}
	return one, err
}

func (p *parser) token(expected string) (string, error) {
	start := p.pos
	for p.pos < len(p.s) && isTokenByte(p.s[p.pos]) {
		p.pos++
	}
	if p.pos == start {
		return "", p.fail(expected)
	}
	return p.s[start:p.pos], nil
}

// quoted reads the rest of a quoted-string. Unescaped it must be a token
// (RFC 6455 §9.1), so it is not empty either.
func (p *parser) quoted() (string, error) {
	var value []byte
	for p.pos < len(p.s) {
		if len(value) > 0 && p.take('"') {
			return string(value), nil
		}
		p.take('\\')
		if p.pos == len(p.s) {
			break
		}
		if !isTokenByte(p.s[p.pos]) {
			return "", p.fail("a quoted value must be a token")
		}
		value = append(value, p.s[p.pos])
		p.pos++
	}
	return "", p.fail("a quoted value lacks its end")
}

func (p *parser) take(c byte) bool {
	if p.pos == len(p.s) || p.s[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

func (p *parser) skipSpace() {
	for p.take(' ') || p.take('\t') {
	}
}

func (p *parser) fail(reason string) error {
	return &SyntaxError{Line: p.line, Offset: p.pos, Reason: reason}
}

// isTokenByte: any ASCII character except controls and separators (RFC 2616 §2.2).
func isTokenByte(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}
