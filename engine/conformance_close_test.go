package engine_test

import (
	"fmt"
	"strings"
)

func closeProbes() (all []probe) {
	add := func(p probe) { all = append(all, p) }
	answered := func(clause, name string, code int, send ...[]byte) {
		add(probe{clause: clause, name: name, send: wire(send...), closing: true, answers: []int{code}})
	}
	refused := func(clause, name string, code int, body string) {
		add(probe{clause: clause, name: name, send: fCloseBody(body), fails: []int{code}})
	}
	const body, reply, last, ignores = "6455-5.5.1-body", "6455-5.5.1-reply", "6455-5.5.1-last", "6455-5.5.1-ignores"

	refused(body, "one byte", 1002, "\x03")
	refused(body, "one byte that is zero", 1002, "\x00")
	for _, n := range []int{1, 2, 60, 122, 123} {
		answered(body, fmt.Sprintf("reason of %d bytes", n), 1000, fClose(1000, letterString(n)))
	}
	answered(body, "reason with runes", 1000, fClose(1000, "Tschüß, ≠ 𝄞"))
	answered(body, "reason of 123 bytes that ends in a rune", 1000, fClose(1000, letterString(119)+"𝄞"))
	for name, s := range confInvalidText {
		refused(body, "reason not UTF-8: "+name, 1007, fCode(1000)+s)
		refused(body, "reason not UTF-8 after text: "+name, 1007, fCode(1000)+"bye "+s)
	}
	refused(body, "reason cut inside a rune", 1007, fCode(1000)+letterString(120)+"\xf0\x9d\x84")

	add(probe{clause: reply, name: "empty", send: fCloseBody(""), closing: true, answers: []int{1005, 1000}})
	answered(reply, "without a reason", 1000, fClose(1000, ""))
	answered(reply, "with one", 1000, fClose(1000, "bye"))
	answered(reply, "a code of its own", 4999, fClose(4999, "bye"))
	for _, n := range []int{1, 10, 200} {
		s := letterString(n)
		var before []byte
		for range 20 {
			before = append(before, fText(s)...)
		}
		add(probe{clause: reply, name: fmt.Sprintf("after 20 messages of %d bytes", n), send: append(before, fClose(1001, "")...), closing: true, answers: []int{1001}, echo: texts(strings.Split(strings.TrimSuffix(strings.Repeat(s+" ", 20), " "), " ")...)})
	}
	add(probe{clause: reply, name: "after a large message", send: wire(fText(letterString(confLimit)), fClose(1000, "")), closing: true, echo: texts(letterString(confLimit))})
	add(probe{clause: reply, name: "of the close that the server began", send: fText(confCloseCommand), after: 1, later: fClose(4001, ""), closing: true, answers: []int{4001}, once: true})

	add(probe{clause: last, name: "data that the application sends", send: fText(confCloseCommand), after: 1, later: fClose(4001, ""), closing: true, answers: []int{4001}})
	add(probe{clause: last, name: "echoes of what comes then", send: fText(confCloseCommand), after: 1, later: wire(fText("late"), fClose(4001, "")), closing: true, answers: []int{4001}, once: true})
	add(probe{clause: last, name: "pongs to what comes then", send: fText(confCloseCommand), after: 1, later: wire(fPing("late"), fClose(4001, "")), closing: true, answers: []int{4001}, once: true})
	add(probe{clause: last, name: "echoes of what came behind it", send: wire(fText(confCloseCommand), fText("late"), fText("later")), closing: true, answers: []int{4001}, once: true})

	for name, after := range map[string][]byte{
		"text": fText("late"), "binary": fBinary("late"), "start of a message": fStart(confText, "late"), "continuation": fLast("late"),
		"ping": fPing("late"), "pong": fPong("late"), "garbage": []byte("\xff\xff\xff\xff"), "unmasked": fUnmasked(0x81, "late"),
		"reserved opcode": fRaw(0x83, ""), "text that is not UTF-8": fText("\xff"), "half a frame": fText("late")[:4],
	} {
		add(probe{clause: ignores, name: name, send: wire(fClose(1000, ""), after), closing: true, trails: true})
		add(probe{clause: ignores, name: name + " after an empty one", send: wire(fCloseBody(""), after), closing: true, trails: true, answers: []int{1005, 1000}})
	}

	const eof = "6455-7.1.1-eof"
	answered(eof, "after a close", 1000, fClose(1000, ""))
	add(probe{clause: eof, name: "after a violation", send: fRaw(0x83, ""), fails: []int{1002}})
	// A client in the middle of writing must get to reading.
	add(probe{clause: eof, name: "after a violation with much behind it", send: append(fRaw(0x83, ""), make([]byte, 8<<20)...), fails: []int{1002}, insists: true, once: true})
	add(probe{clause: eof, name: "after a frame too large that is sent nevertheless", send: fBinary(patternString(8 << 20)), fails: []int{1009}, insists: true, once: true})
	add(probe{clause: eof, name: "after text that is not UTF-8 with much behind it", send: wire(fText("\xff"), fText(letterString(60_000)), fText(letterString(60_000))), fails: []int{1007}})
	add(probe{clause: eof, name: "after a bad close", send: fClose(1005, ""), fails: []int{1002}})
	add(probe{clause: eof, name: "after a close with a little behind it", send: wire(fClose(1000, ""), fText(letterString(100))), closing: true, once: true})

	const start = "6455-7.1.2-start"
	add(probe{clause: start, name: "code and reason", send: fText(confCloseCommand), after: 1, later: fClose(4001, ""), closing: true, answers: []int{4001}, once: true, more: func(s *session) string {
		if s.reason != "enough" {
			return fmt.Sprintf("reason %q", s.reason)
		}
		return ""
	}})
	add(probe{clause: start, name: "after what came before", send: wire(fText("a"), fText(confCloseCommand)), after: 2, later: fClose(4001, ""), closing: true, answers: []int{4001}, echo: texts("a")})
	add(probe{clause: start, name: "both at once", send: wire(fText(confCloseCommand), fClose(4001, "")), closing: true, answers: []int{4001}, once: true})

	const first = "6455-7.1.5-first"
	add(probe{clause: first, name: "two codes", send: wire(fClose(1000, ""), fClose(1001, "")), closing: true, trails: true})
	add(probe{clause: first, name: "a bad one second", send: wire(fClose(1000, ""), fClose(1005, "")), closing: true, trails: true})
	add(probe{clause: first, name: "a bad one first", send: wire(fClose(1005, ""), fClose(1000, "")), fails: []int{1002}})
	add(probe{clause: first, name: "an empty one first", send: wire(fCloseBody(""), fClose(1001, "")), closing: true, trails: true, answers: []int{1005, 1000}})
	add(probe{clause: first, name: "a violation first", send: wire(fRaw(0x83, ""), fClose(1000, "")), fails: []int{1002}})

	add(probe{clause: "6455-7.1.6-reason", name: "of 123 bytes", send: fText(confReasonCommand), after: 1, later: fClose(4001, ""), closing: true, answers: []int{4001}, more: func(s *session) string {
		if s.reason != confReason {
			return fmt.Sprintf("reason %q", s.reason)
		}
		return ""
	}})
	// An application's mistake may be called one (1011), or be cut.
	add(probe{clause: "6455-7.1.6-reason", name: "too long", send: fText(confLongCommand), after: 1, later: fClose(4001, ""), closing: true, answers: []int{4001, 1011}})

	const fails = "6455-7.1.7-fails"
	for name, bad := range map[string][]byte{"reserved opcode": fRaw(0x83, ""), "reserved bits": fRaw(0xb1, ""), "unmasked": fUnmasked(0x81, "Hi"), "continuation": fLast(""), "fragmented ping": fRaw(0x09, "")} {
		for later, send := range map[string][]byte{"text": fText("late"), "ping": fPing("late"), "close": fClose(1000, "")} {
			add(probe{clause: fails, name: name + ", then " + later, send: wire(bad, send), fails: []int{1002}})
		}
		add(probe{clause: fails, name: "text, then " + name, send: wire(fText("good"), bad, fText("late")), echo: texts("good"), fails: []int{1002}})
	}
	add(probe{clause: fails, name: "bad text, then good", send: wire(fText("\xff"), fText("late")), fails: []int{1007}})
	add(probe{clause: fails, name: "bad text, then a ping", send: wire(fText("\xff"), fPing("late")), fails: []int{1007}, bare: true})
	add(probe{clause: fails, name: "too large, then good", send: wire(fBinary(patternString(confLimit+1)), fText("late"), fPing("late")), fails: []int{1009}})

	const lost = "6455-7.2.1-lost"
	for name, send := range map[string][]byte{"nothing": nil, "a message": fText("a"), "half a header": {0x81}, "a header": fHead(confKey, 0x81, 0, 5), "half a payload": fText("Hello")[:8], "a fragment": fStart(confText, "a"), "a ping and a fragment": wire(fPing("p"), fStart(confText, "a")), "half a close": fClose(1000, "bye")[:7]} {
		p := probe{clause: lost, name: "after " + name, send: send, hangup: true}
		if name == "a message" {
			p.echo = texts("a")
		}
		if strings.HasPrefix(name, "a ping") {
			p.pongs = []string{"p"}
		}
		add(p)
	}

	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		answered("6455-7.4.1-defined", fmt.Sprint(code), code, fClose(code, ""))
		answered("6455-7.4.1-defined", fmt.Sprintf("%d with a reason", code), code, fClose(code, "because"))
	}
	for _, code := range []int{3000, 3001, 3999, 4000, 4001, 4998, 4999} {
		answered("6455-7.4.2-open", fmt.Sprint(code), code, fClose(code, ""))
		answered("6455-7.4.2-open", fmt.Sprintf("%d with a reason", code), code, fClose(code, "because"))
	}
	for clause, codes := range map[string][]int{
		"6455-7.4.1-reserved": {1004, 1005, 1006, 1015},
		"6455-7.4.2-refused":  {0, 1, 500, 999, 1016, 1017, 1100, 1999, 2000, 2998, 2999, 5000, 5001, 32768, 65535},
	} {
		for _, code := range codes {
			refused(clause, fmt.Sprint(code), 1002, fCode(code))
			refused(clause, fmt.Sprintf("%d with a reason", code), 1002, fCode(code)+"because")
		}
	}
	return all
}
