package engine_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parseOffers takes headers that hold to the grammar apart into parameters, with
// the extension's name under "". It is simple: no comma or semicolon is quoted.
func parseOffers(lines []string) (all []map[string][]string) {
	for _, element := range strings.Split(strings.Join(lines, ","), ",") {
		if strings.TrimSpace(element) == "" {
			continue
		}
		offer := map[string][]string{}
		for i, part := range strings.Split(element, ";") {
			name, value, _ := strings.Cut(part, "=")
			name, value = strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), `"`)
			if i == 0 {
				name, value = "", name
			}
			name = strings.ToLower(name)
			offer[name] = append(offer[name], value)
		}
		all = append(all, offer)
	}
	return all
}

// judgeAnswer holds a server's Sec-WebSocket-Extensions against the offer that it
// should have picked, from 1 (RFC 7692 §7.1). It returns what is wrong.
func judgeAnswer(offers, answer []string, pick int) string {
	answers := parseOffers(answer)
	switch {
	case len(answers) == 0 && pick == 0:
		return ""
	case len(answers) == 0:
		return "declined"
	case pick == 0 && len(offers) == 0:
		return fmt.Sprintf("agreed on %q, which nobody has offered", answer)
	case pick == 0:
		return fmt.Sprintf("answered %q, although there was nothing to accept", answer)
	case len(answers) > 1 || len(answer) > 1:
		return fmt.Sprintf("answered with several extensions, %q", answer)
	}
	offer, got := parseOffers(offers)[pick-1], answers[0]
	wrong := func(why string) string { return fmt.Sprintf("answered %q: %s", answer, why) }
	if !strings.EqualFold(got[""][0], "permessage-deflate") {
		return wrong("not offered")
	}
	for name, values := range got {
		switch value := values[0]; {
		case len(values) > 1:
			return wrong("repeats " + name)
		case name == "":
		case name == "server_no_context_takeover", name == "client_no_context_takeover":
			if strings.Contains(answer[0], name+"=") {
				return wrong("a value of " + name)
			}
		case name == "server_max_window_bits", name == "client_max_window_bits":
			if !slices.Contains([]string{"8", "9", "10", "11", "12", "13", "14", "15"}, value) {
				return wrong("value of " + name)
			}
			asked, offered := offer[name]
			if name == "client_max_window_bits" && !offered {
				return wrong("client_max_window_bits, which the client has not offered")
			}
			if offered && asked[0] != "" && bitsOf(value) > bitsOf(asked[0]) {
				return wrong("more than asked for of " + name)
			}
		default:
			return wrong("unknown parameter " + name)
		}
	}
	for _, name := range []string{"server_no_context_takeover", "server_max_window_bits"} {
		if offer[name] != nil && got[name] == nil {
			return wrong("lacks " + name + ", without which the offer is not accepted")
		}
	}
	return ""
}

func bitsOf(s string) int {
	n, _ := strconv.Atoi(s) // checked
	return n
}

func offerProbes() (all []probe) {
	// Each connection must work then, with what has been agreed on or without.
	add := func(clause string, picks int, lines ...string) *probe {
		name := strings.Join(lines, " | ")
		if len(lines) == 0 {
			name = "none"
		} else if name == "" {
			name = "an empty line"
		}
		all = append(all, probe{
			clause: clause, name: strings.ReplaceAll(name, "permessage-deflate", "pmd"), offer: lines, picks: picks, on: confPacking, once: true,
			send: wire(fText("first"), fPing("p"), fText(letterString(2000)), fBinary("")), echo: []said{{confText, "first"}, {confText, letterString(2000)}, {confBinary, ""}}, pongs: []string{"p"},
		})
		return &all[len(all)-1]
	}
	const d = "permessage-deflate"

	const offers = "7692-5-offers"
	add(offers, 1, d)
	add(offers, 1, d+", "+d)
	add(offers, 2, "x-webkit-deflate-frame, "+d)
	add(offers, 2, "x-unknown; a=b; c, "+d+"; server_max_window_bits=10")
	add(offers, 1, d+"; server_max_window_bits=10, "+d)
	add(offers, 2, d+"; unknown, "+d+"; server_max_window_bits=11")
	add(offers, 2, d+"; server_max_window_bits=7, "+d+"; server_max_window_bits=12, "+d)
	add(offers, 3, d+"; server_max_window_bits=7, "+d+"; unknown=1, "+d+"; server_max_window_bits=9; server_no_context_takeover")
	add(offers, 2, d+"; unknown", d+"; server_max_window_bits=13")
	add(offers, 1, d+"; server_max_window_bits=14", "x-unknown")
	add(offers, 1, "", d)
	add(offers, 1, ", ,"+d+",,")
	add(offers, 1, d+";client_max_window_bits;server_max_window_bits=9")
	add(offers, 1, "\t"+d+" ; server_max_window_bits = 9 ")
	add(offers, 1, d+"; client_max_window_bits; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15")
	add(offers, 1, "Permessage-Deflate; Server_Max_Window_Bits=9").name += " (names in other letters)"

	const unasked = "6455-9.1-unasked"
	add(unasked, 0)
	add(unasked, 0, "")
	add(unasked, 0, "x-webkit-deflate-frame")
	add(unasked, 0, "permessage-bzip2, permessage-deflate-x, x-permessage-deflate")
	add(unasked, 0, "x-other; permessage-deflate")
	add(unasked, 0, "x-other; a=permessage-deflate")
	off := add(unasked, 0, d)
	off.plain, off.name = true, off.name+", to a server without compression"
	off = add(unasked, 0, d+"; server_max_window_bits=9; client_max_window_bits")
	off.plain, off.name = true, off.name+", to a server without compression"

	const declines = "7692-7.1-declines"
	for _, params := range []string{
		"unknown", "unknown=1", "x; server_no_context_takeover", "max_window_bits=10", "no_context_takeover", "mode=fast",
		"server_no_context_takeover; server_no_context_takeover", "client_no_context_takeover; client_no_context_takeover",
		"server_max_window_bits=10; server_max_window_bits=10", "server_max_window_bits=10; server_max_window_bits=11",
		"client_max_window_bits; client_max_window_bits", "client_max_window_bits=10; client_max_window_bits", "client_max_window_bits=10; client_max_window_bits=10",
	} {
		add(declines, 0, d+"; "+params)
		add(declines, 2, d+"; "+params+", "+d)
	}

	const serverTakeover, clientTakeover = "7692-7.1.1.1-server_takeover", "7692-7.1.1.2-client_takeover"
	add(serverTakeover, 1, d+"; server_no_context_takeover")
	add(serverTakeover, 1, d+"; server_no_context_takeover; client_max_window_bits")
	add(clientTakeover, 1, d+"; client_no_context_takeover")
	add(clientTakeover, 1, d+"; client_no_context_takeover; server_no_context_takeover")
	for _, value := range []string{"=true", "=1", "=0", `="1"`, "=server_no_context_takeover"} {
		add(serverTakeover, 0, d+"; server_no_context_takeover"+value)
		add(clientTakeover, 0, d+"; client_no_context_takeover"+value)
		add(clientTakeover, 2, d+"; client_no_context_takeover"+value+", "+d)
	}

	const serverBits, clientBits = "7692-7.1.2.1-server_bits", "7692-7.1.2.2-client_bits"
	for bits := 8; bits <= 15; bits++ {
		add(serverBits, 1, fmt.Sprintf("%s; server_max_window_bits=%d", d, bits))
		add(serverBits, 1, fmt.Sprintf(`%s; server_max_window_bits="%d"`, d, bits))
		add(clientBits, 1, fmt.Sprintf("%s; client_max_window_bits=%d", d, bits))
		add(clientBits, 1, fmt.Sprintf(`%s; client_max_window_bits="%d"; server_max_window_bits=%d`, d, bits, bits))
	}
	add(clientBits, 1, d+"; client_max_window_bits")
	add(serverBits, 0, d+"; server_max_window_bits")
	add(serverBits, 2, d+"; server_max_window_bits, "+d+"; server_max_window_bits=8")
	for _, value := range []string{"0", "1", "7", "16", "17", "32", "08", "09", "010", "015", "1x", "x", "8.0", "0x9", "-9", "+9", `"7"`, `"08"`, `"16"`, "115", "99999999999999999999"} {
		add(serverBits, 0, d+"; server_max_window_bits="+value)
		add(clientBits, 0, d+"; client_max_window_bits="+value)
	}
	add(serverBits, 2, d+"; server_max_window_bits=16, "+d+"; server_max_window_bits=15")
	add(clientBits, 2, d+"; client_max_window_bits=16, "+d+"; client_max_window_bits=15")

	const grammar = "6455-9.1-grammar"
	for _, line := range []string{
		d + "; server_max_window_bits=", d + "; =9", d + ";", d + "; ; client_max_window_bits", d + "; server_max_window_bits=9 9",
		d + `; server_max_window_bits="9`, d + `; server_max_window_bits=9"`, d + `; server_max_window_bits=""`, d + `; server_max_window_bits="9 "`,
		"permessage deflate", ";" + d, "=" + d, d + "; server_max_window_bits==9", d + "; server_max_window_bits=9=9", d + "; a/b", "permessage/deflate", d + "; (x)", d + `; "x"`,
		d + ", ;", "x; =, " + d,
	} {
		p := add(grammar, 0, line)
		p.refused = true
	}
	p := add(grammar, 0, d, "x y")
	p.refused = true
	return all
}
