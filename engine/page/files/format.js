// Numbers, sizes and bytes as people read them.

// count shortens what is large: 12,345 stays, 1,234,567 is 1.23 M.
export function count(n) {
  if (n < 100000) {
    return n.toLocaleString("en", { maximumFractionDigits: n < 10 ? 1 : 0 });
  }
  return n.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(n) {
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  const digits = unit === 0 || n >= 100 ? 0 : 1;
  return `${n.toLocaleString("en", { maximumFractionDigits: digits })} ${units[unit]}`;
}

export function milliseconds(ms) {
  return `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`;
}

// time is the hour of the day with milliseconds.
export function time(date) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

// plural is "1 message", "2 messages".
export function plural(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const hexOf = (b) => b.toString(16).padStart(2, "0");

// hex is a line of bytes.
export function hex(array) {
  return Array.from(array, hexOf).join(" ");
}

// dump is lines of sixteen bytes: where, which, and the letters among them.
export function dump(array) {
  const lines = [];
  for (let at = 0; at < array.length; at += 16) {
    const row = array.subarray(at, at + 16);
    const letters = Array.from(row, (b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : "."));
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex(row).padEnd(47)}  ${letters.join("")}`);
  }
  return lines.join("\n");
}
