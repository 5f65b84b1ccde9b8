package engine_test

import (
	"fmt"
	"strings"
)

func controlProbes() (all []probe) {
	add := func(p probe) { all = append(all, p) }
	const ping, pong, unsolicited = "6455-5.5.2-ping", "6455-5.5.3-pong", "6455-5.5.3-unsolicited"

	for name, op := range map[string]byte{"ping": confPing, "pong": confPong, "close": confClose} {
		payload := fCode(1000) + letterString(65600)
		for _, n := range []int{126, 127, 128, 1000, 65535, 65536} {
			add(probe{clause: "6455-5.5-size", name: fmt.Sprintf("%s of %d bytes", name, n), send: fRaw(confFin|op, payload[:n]), fails: []int{1002}})
		}
		add(probe{clause: "6455-5.5-size", name: name + " of 5 bytes, as 16 bits", send: fLong(confFin|op, 2, payload[:5]), fails: []int{1002}})
		add(probe{clause: "6455-5.5-size", name: name + " of 5 bytes, as 64 bits", send: fLong(confFin|op, 8, payload[:5]), fails: []int{1002}})
		add(probe{clause: "6455-5.5-size", name: name + " of 2^63-1 bytes", send: fHead(confKey, confFin|op, 8, 1<<63-1), fails: []int{1002}})
		add(probe{clause: "6455-5.5-size", name: name + " of 126 bytes inside a message", send: wire(fStart(confText, "a"), fRaw(confFin|op, payload[:126])), fails: []int{1002}})
		add(probe{clause: "6455-5.5-whole", name: name, send: fRaw(op, payload[:2]), fails: []int{1002}})
		add(probe{clause: "6455-5.5-whole", name: name + ", empty", send: fRaw(op, ""), fails: []int{1002}})
		add(probe{clause: "6455-5.5-whole", name: name + ", and its rest", send: wire(fRaw(op, payload[:2]), fLast("b")), fails: []int{1002}})
		add(probe{clause: "6455-5.5-whole", name: name + " inside a message", send: wire(fStart(confText, "a"), fRaw(op, payload[:2])), fails: []int{1002}})
	}

	for _, n := range []int{0, 1, 2, 3, 4, 5, 31, 32, 124, 125} {
		p := patternString(n)
		add(probe{clause: pong, name: fmt.Sprintf("%d bytes", n), send: fPing(p), pongs: []string{p}})
	}
	add(probe{clause: pong, name: "not UTF-8", send: fPing("\xc3\x28\xff\x00"), pongs: []string{"\xc3\x28\xff\x00"}})
	add(probe{clause: pong, name: "as a close frame's", send: fPing(fCode(1000)), pongs: []string{fCode(1000)}})
	add(probe{clause: pong, name: "different ones", send: wire(fPing("a"), fPing(""), fPing("b")), pongs: []string{"a", "", "b"}})

	add(probe{clause: ping, name: "one", send: fPing("p"), pongs: []string{"p"}})
	add(probe{clause: ping, name: "before a message", send: wire(fPing("p"), fText("a")), pongs: []string{"p"}, echo: texts("a")})
	add(probe{clause: ping, name: "after a message", send: wire(fText("a"), fPing("p")), pongs: []string{"p"}, echo: texts("a")})
	var many []byte
	var answers []string
	for i := range 30 {
		many, answers = append(many, fPing(fmt.Sprint(i))...), append(answers, fmt.Sprint(i))
	}
	add(probe{clause: ping, name: "thirty", send: many, pongs: answers})
	add(probe{clause: ping, name: "one after the other's pong", send: fPing("1"), after: 1, later: fPing("2"), pongs: []string{"1", "2"}, more: func(s *session) string {
		if len(s.pongs) != 2 {
			return "one of them was not answered"
		}
		return ""
	}})
	add(probe{clause: ping, name: "without a close behind it", send: fPing("1"), after: 1, later: fClose(1000, ""), closing: true, pongs: []string{"1"}})
	add(probe{clause: ping, name: "after a close", send: wire(fClose(1000, ""), fPing("p")), closing: true, trails: true})
	add(probe{clause: "6455-5.5.2-sent", name: "of 125 bytes", send: fText(confPingCommand), after: 1, later: wire(fPong(letterString(125)), fText("a")), echo: texts("a"), more: func(s *session) string {
		if len(s.pings) != 1 || s.pings[0] != letterString(125) {
			return fmt.Sprintf("pings %q", s.pings)
		}
		return ""
	}, once: true})
	add(probe{clause: "6455-5.5.2-sent", name: "and not answered", send: fText(confPingCommand), after: 1, later: fText("a"), echo: texts("a"), once: true})

	for _, n := range []int{0, 1, 125} {
		add(probe{clause: unsolicited, name: fmt.Sprintf("%d bytes", n), send: wire(fPong(patternString(n)), fText("a")), echo: texts("a")})
	}
	add(probe{clause: unsolicited, name: "many", send: wire([]byte(strings.Repeat(string(fPong("x")), 50)), fText("a")), echo: texts("a")})
	add(probe{clause: unsolicited, name: "and a ping", send: wire(fPong("not this"), fPing("this"), fPong("nor this")), pongs: []string{"this"}})
	add(probe{clause: unsolicited, name: "and nothing else", send: fPong("x")})
	return all
}
