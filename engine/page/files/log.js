// The table of messages. It keeps the newest, and of large ones the beginning, and draws
// once a frame however many come.
import { bytes, dump, hex, plural, time } from "./format.js";

const mostRows = 200;
const mostPreview = 36; // characters, of what cannot be unfolded
const mostPreviewBytes = 12;
const mostLine = 160; // characters of a line that can
const mostText = 16 << 10; // that a row keeps
const mostDump = 4 << 10;

export class Log {
  #body;
  #totals;
  #empty;
  #rows = []; // not yet drawn, the newest last
  #sums = { in: { n: 0, bytes: 0 }, out: { n: 0, bytes: 0 } };
  #drawing = false;

  constructor(body, totals, empty) {
    this.#body = body;
    this.#totals = totals;
    this.#empty = empty;
  }

  // text and binary note a message in one direction, "in" or "out".
  text(direction, text, size) {
    this.#count(direction, size);
    this.#add({ direction, type: "text", size, kept: text.slice(0, mostText), cut: text.length > mostText });
  }

  binary(direction, buffer) {
    this.#count(direction, buffer.byteLength);
    const kept = new Uint8Array(buffer.slice(0, mostDump));
    this.#add({ direction, type: "binary", size: buffer.byteLength, kept, cut: buffer.byteLength > mostDump });
  }

  // event notes what is no message.
  event(direction, type, text) {
    this.#add({ direction, type, size: null, kept: text, cut: false });
  }

  clear() {
    this.#rows = [];
    this.#sums = { in: { n: 0, bytes: 0 }, out: { n: 0, bytes: 0 } };
    this.#body.replaceChildren();
    this.#summarize();
  }

  #count(direction, size) {
    this.#sums[direction].n++;
    this.#sums[direction].bytes += size;
  }

  #add(row) {
    row.at = new Date();
    this.#rows.push(row);
    if (this.#rows.length > mostRows) {
      this.#rows.shift();
    }
    if (!this.#drawing) {
      this.#drawing = true;
      requestAnimationFrame(() => this.#draw());
    }
  }

  #draw() {
    this.#drawing = false;
    this.#body.prepend(...this.#rows.map(drawRow).reverse());
    this.#rows = [];
    while (this.#body.children.length > mostRows) {
      this.#body.lastChild.remove();
    }
    this.#summarize();
  }

  #summarize() {
    const { in: received, out: sent } = this.#sums;
    this.#empty.hidden = this.#body.children.length > 0;
    this.#totals.textContent = received.n + sent.n === 0 ? "none yet"
      : `${plural(received.n, "message")} in, ${bytes(received.bytes)}; ${plural(sent.n, "message")} out, ${bytes(sent.bytes)}`;
  }
}

function drawRow(row) {
  const tr = document.createElement("tr");
  tr.className = `${row.direction} ${row.type}`;
  const cells = [time(row.at), row.direction, row.type, row.size === null ? "" : bytes(row.size)].map((text) => {
    const td = document.createElement("td");
    td.textContent = text;
    return td;
  });
  cells[1].className = "direction";
  cells[3].className = "number";
  const preview = document.createElement("td");
  preview.className = "preview";
  preview.append(drawPreview(row));
  tr.append(...cells, preview);
  return tr;
}

function drawPreview(row) {
  const binary = row.type === "binary";
  const code = document.createElement("code");
  code.textContent = binary ? hex(row.kept.subarray(0, mostLine / 3)) : row.kept.split("\n", 1)[0].slice(0, mostLine);
  if (binary ? row.kept.length <= mostPreviewBytes : row.kept.length <= mostPreview && !row.kept.includes("\n")) {
    return code;
  }
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.append(code);
  details.append(summary);
  details.addEventListener("toggle", () => fill(details, row), { once: true });
  return details;
}

// fill writes the rest when somebody wants to see it.
function fill(details, row) {
  const pre = document.createElement("pre");
  pre.textContent = row.type === "binary" ? dump(row.kept) : row.kept;
  pre.tabIndex = 0; // it may have to be scrolled
  details.append(pre);
  if (row.cut) {
    const p = document.createElement("p");
    p.className = "quiet";
    p.textContent = `the beginning of ${bytes(row.size)}`;
    details.append(p);
  }
}
