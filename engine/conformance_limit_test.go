package engine_test

import "fmt"

func limitProbes() (all []probe) {
	const clause = "6455-10.4-limit"
	ok := func(name string, echo []said, send ...[]byte) {
		all = append(all, probe{clause: clause, name: name, send: wire(send...), echo: echo})
	}
	over := func(name string, send ...[]byte) {
		all = append(all, probe{clause: clause, name: name, send: wire(send...), fails: []int{1009}})
	}
	most := patternString(confLimit)
	text := letterString(confLimit)
	ok("exactly, in one frame", binaries(most), fBinary(most))
	ok("exactly, of text", texts(text), fText(text))
	ok("exactly, one byte less", binaries(most[1:]), fBinary(most[1:]))
	ok("exactly, in two fragments", binaries(most), fPieces(confBinary, most, nil, confLimit/2))
	ok("exactly, and an empty fragment", binaries(most), fStart(confBinary, most), fLast(""))
	ok("exactly, twice", binaries(most, most), fBinary(most), fBinary(most))
	ok("exactly, twice, in fragments", binaries(most, most), fPieces(confBinary, most, nil, 1), fPieces(confBinary, most, nil, confLimit-1))
	ok("exactly, with pings between", binaries(most), fPieces(confBinary, most, fPong(letterString(125)), 1, 2, 3, 1000, 60_000))

	count := confCountCommand + letterString(confLimit-len(confCountCommand))
	ok("exactly, counted", texts(fmt.Sprint(confLimit)), fText(count))
	over("one byte more, counted", fText(count+"x"))
	over("one byte more, counted, in fragments", fStart(confText, count), fLast("x"))
	over("one byte more", fBinary(patternString(confLimit+1)))
	over("one byte more, of text", fText(letterString(confLimit+1)))
	over("one byte more, only the header", fHead(confKey, 0x82, 0, confLimit+1))
	over("one byte more, not the last frame", fHead(confKey, 0x02, 0, confLimit+1))
	over("one byte more in a second fragment", fStart(confBinary, most), fLast("x"))
	over("one byte more in a second fragment, only the header", fStart(confBinary, most), fHead(confKey, 0x80, 0, 1))
	all[len(all)-1].rest = []byte("x") // to look at the sum then is late, but in time
	over("one byte more in a middle fragment", fStart(confBinary, most), fMore("x"))
	over("one byte more in two parts", fStart(confBinary, most[1:]), fLast("xy"))
	over("one byte more, with a pong between", fStart(confBinary, most), fPong(""), fLast("x"))
	over("one byte more after a message of the limit", fBinary("x"), fHead(confKey, 0x82, 0, confLimit+1))
	all[len(all)-1].echo = binaries("x")
	for _, n := range []uint64{1 << 17, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 33, 1<<32 + 5, 1 << 48, 1 << 62, 1<<63 - 15, 1<<63 - 1} {
		over(fmt.Sprintf("header of %d bytes", n), fHead(confKey, 0x82, 0, n))
		over(fmt.Sprintf("header of %d bytes in a second fragment", n), fStart(confText, "a"), fHead(confKey, 0x80, 0, n))
	}
	return all
}
