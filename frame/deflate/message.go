package deflate

// AppendMessage compresses payload as one message and appends it to dst: a
// DEFLATE stream with a sync flush at its end, without the final 00 00 ff ff
// (RFC 7692 §7.2.1). An empty payload is the one byte 0x00 (§7.2.3.6). The
// result can be longer than payload, by up to 5 bytes per 32 KiB and 6.
//
// level and bits are as for NewWriter, except that level always counts when
// payload is no longer than the window. dst and payload must not overlap.
func AppendMessage(dst, payload []byte, level, bits int) []byte {
	kind := kindOf(level, bits)
	if len(payload) <= 1<<bits {
		kind = kindOf(level, MaxBits) // no match can reach beyond the window
	}
	w := takeWriter(kind)
	dst = w.Finish(w.Append(dst, payload))
	w.Close()
	return dst
}
