package engine_test

import (
	"fmt"
	"strings"
)

func fragmentProbes() (all []probe) {
	add := func(clause, name string, send []byte, echo []said, pongs ...string) {
		all = append(all, probe{clause: clause, name: name, send: send, echo: echo, pongs: pongs})
	}
	fails := func(name string, send ...[]byte) {
		all = append(all, probe{clause: "6455-5.4-order", name: name, send: wire(send...), fails: []int{1002}})
	}

	const joins = "6455-5.4-fragments"
	for _, op := range []byte{confText, confBinary} {
		of := map[byte]string{confText: "text", confBinary: "binary"}[op]
		echo := func(s string) []said { return []said{{op, s}} }
		add(joins, of+" in two", wire(fStart(op, "Hel"), fLast("lo")), echo("Hello"))
		add(joins, of+" in bytes", fPieces(op, "Hello, world", nil, every("Hello, world")...), echo("Hello, world"))
		add(joins, of+", first empty", wire(fStart(op, ""), fLast("lo")), echo("lo"))
		add(joins, of+", middle empty", wire(fStart(op, "a"), fMore(""), fLast("b")), echo("ab"))
		add(joins, of+", last empty", wire(fStart(op, "a"), fLast("")), echo("a"))
		add(joins, of+", all empty", wire(fStart(op, ""), fMore(""), fLast("")), echo(""))
		add(joins, of+" in 1000 empty ones", wire(fStart(op, "a"), []byte(strings.Repeat(string(fMore("")), 1000)), fLast("b")), echo("ab"))
		for _, size := range []int{1, 124, 125, 126, 127, 1000, 8192, 65534, 65535, 65536} {
			s := letterString(confLimit)
			if size == 1 {
				s = letterString(2000)
			}
			var cuts []int
			for at := size; at < len(s); at += size {
				cuts = append(cuts, at)
			}
			add(joins, fmt.Sprintf("%s of %d bytes in pieces of %d", of, len(s), size), fPieces(op, s, nil, cuts...), echo(s))
		}
	}
	add(joins, "two messages", wire(fStart(confText, "a"), fLast("b"), fStart(confBinary, "c"), fLast("d")), []said{{confText, "ab"}, {confBinary, "cd"}})
	add(joins, "before and after whole ones", wire(fText("1"), fStart(confText, "2"), fLast("3"), fText("4")), texts("1", "23", "4"))

	const between = "6455-5.4-controls"
	add(between, "ping", wire(fStart(confText, "a"), fPing("p"), fLast("b")), texts("ab"), "p")
	add(between, "pong", wire(fStart(confText, "a"), fPong("p"), fLast("b")), texts("ab"))
	add(between, "pings and pongs", wire(fStart(confText, "a"), fPing("1"), fPong("x"), fPing("2"), fMore("b"), fPing("3"), fLast("c")), texts("abc"), "1", "2", "3")
	add(between, "ping after each byte", fPieces(confText, "Hello", fPing("p"), every("Hello")...), texts("Hello"), "p", "p", "p", "p")
	add(between, "ping of 125 bytes after each byte", fPieces(confBinary, "Hello", fPing(letterString(125)), every("Hello")...), binaries("Hello"), letterString(125), letterString(125), letterString(125), letterString(125))
	add(between, "empty ping", wire(fStart(confText, "a"), fPing(""), fLast("b")), texts("ab"), "")
	add(between, "ping between empty fragments", wire(fStart(confText, ""), fPing("p"), fMore(""), fPing("q"), fLast("")), texts(""), "p", "q")
	all = append(all,
		probe{clause: between, name: "ping is answered before the message ends", send: wire(fStart(confText, "a"), fPing("p")), after: 1, later: fLast("b"), echo: texts("ab"), pongs: []string{"p"}},
		probe{clause: between, name: "each ping is, before the next", send: wire(fStart(confText, "a"), fPing("p"), fMore("b"), fPing("q")), after: 1, later: wire(fMore("c"), fPing("r"), fLast("d")), echo: texts("abcd"), pongs: []string{"p", "q", "r"}},
		probe{clause: between, name: "close", send: wire(fStart(confText, "a"), fClose(1000, "")), closing: true},
		probe{clause: between, name: "close between later ones", send: wire(fStart(confText, "a"), fMore("b"), fClose(1001, "")), closing: true, answers: []int{1001}},
		probe{clause: between, name: "ping inside a large message", send: wire(fStart(confBinary, patternString(40_000)), fPing("p")), after: 1, later: fLast(patternString(20_000)), echo: binaries(patternString(40_000) + patternString(20_000)), pongs: []string{"p"}},
	)

	fails("continuation first", fLast("a"))
	fails("continuation first, empty", fLast(""))
	fails("continuation first, not the last", fMore("a"))
	fails("continuation first, not the last, empty", fMore(""))
	fails("continuation after a ping", fPing(""), fLast("a"))
	all[len(all)-1].pongs = []string{""}
	fails("continuation after a message", fText("good"), fLast("a"))
	all[len(all)-1].echo = texts("good")
	fails("continuation after a message, not the last", fText("good"), fMore("a"))
	all[len(all)-1].echo = texts("good")
	fails("continuation after a fragmented message", fStart(confText, "go"), fLast("od"), fLast("a"))
	all[len(all)-1].echo = texts("good")
	for first, of := range map[byte]string{confText: "text", confBinary: "binary"} {
		for second, in := range map[byte]string{confText: "text", confBinary: "binary"} {
			fails(in+" inside "+of, fStart(first, "a"), fRaw(confFin|second, "b"))
			fails("start of "+in+" inside "+of, fStart(first, "a"), fRaw(second, "b"))
			fails("empty "+in+" inside "+of, fStart(first, ""), fRaw(confFin|second, ""))
			fails(in+" after two fragments of "+of, fStart(first, "a"), fMore("b"), fRaw(confFin|second, "c"))
			fails(in+" after a ping inside "+of, fStart(first, "a"), fPing("p"), fRaw(confFin|second, "c"))
			all[len(all)-1].pongs = []string{"p"}
		}
	}

	// The client takes no fragments out of order; here are messages that servers may
	// well fragment, with pongs due meanwhile.
	const sent = "6455-5.4-sent"
	for _, n := range []int{65_537, 66_000, confLimit} {
		s := letterString(n)
		add(sent, fmt.Sprintf("%d bytes", n), fText(s), texts(s))
		add(sent, fmt.Sprintf("%d bytes and pings", n), wire(fPing("1"), fText(s), fPing("2"), fText(s), fPing("3"), fText("small")), texts(s, s, "small"), "1", "2", "3")
	}
	return all
}
