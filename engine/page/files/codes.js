// What close codes mean: RFC 6455 §7.4 and IANA's registry, and what this server means
// by them.

const known = new Map([
  [1000, ["normal closure", "The connection has done what it was for."]],
  [1001, ["going away", "The server is shutting down, or heard nothing for too long; or a page was left."]],
  [1002, ["protocol error", "One side broke the rules of RFC 6455."]],
  [1003, ["unsupported data", "A kind of message came that the other side does not take."]],
  [1005, ["no status", "The close frame had no code. This code is never sent."]],
  [1006, ["abnormal closure", "The connection ended without a close frame: it was cut, or the server refused the handshake, for the path, the origin, the subprotocol or a limit. A browser does not tell a page which. This code is never sent."]],
  [1007, ["invalid payload", "Text was not UTF-8, or compressed data was broken."]],
  [1008, ["policy violation", "What was sent is not allowed: too often, too slowly, or without the right to."]],
  [1009, ["message too big", "A message was larger than the server takes: its MAX_WS_MESSAGE_BYTES."]],
  [1010, ["mandatory extension", "The server did not agree to an extension that the client needs."]],
  [1011, ["internal error", "The server's handler failed."]],
  [1012, ["service restart", "The server is being restarted. Connect again after a moment."]],
  [1013, ["try again later", "The server is short of memory, or the connection read too slowly."]],
  [1014, ["bad gateway", "A gateway got a wrong answer from the server behind it."]],
  [1015, ["TLS handshake", "TLS could not be set up. This code is never sent."]],
]);

const ranges = [
  [3000, 3999, "registered", "Of a library or framework, registered with IANA."],
  [4000, 4999, "private use", "The application's own: ask whoever wrote it."],
];

// meaning returns a code's name and when it is used.
export function meaning(code) {
  const row = known.get(code);
  if (row) {
    return { name: row[0], when: row[1] };
  }
  const range = ranges.find(([from, to]) => code >= from && code <= to);
  return range ? { name: range[2], when: range[3] } : { name: "unassigned", when: "Nobody has given it a meaning." };
}

// all lists what a table shows.
export function all() {
  const rows = Array.from(known, ([code, [name, when]]) => ({ code: String(code), name, when }));
  return rows.concat(ranges.map(([from, to, name, when]) => ({ code: `${from}–${to}`, name, when })));
}
