// A connection to try: what is sent, what comes, and how it ends.
import { all, meaning } from "./codes.js";
import { bytes, milliseconds } from "./format.js";
import { measure } from "./latency.js";
import { Log } from "./log.js";

const $ = (id) => document.getElementById(id);
const size = (text) => new TextEncoder().encode(text).length;

let socket = null; // the one that is open, or opening
let asked = null; // how the page has closed it: code and reason
let log;
const listeners = new Set(); // who wants to see text that comes, for a while

export function startTry(url) {
  $("url").value = url;
  log = new Log($("log"), $("totals"), $("empty"));
  drawCodes();
  $("connect").addEventListener("submit", handle(connect));
  $("disconnect").addEventListener("submit", handle(disconnect));
  $("send").addEventListener("submit", handle(sendText));
  $("text").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
      handle(sendText)(e);
    }
  });
  $("send-file").addEventListener("click", handle(sendFile));
  $("measure").addEventListener("click", handle(measureLatency));
  $("clear").addEventListener("click", () => log.clear());
}

// handle runs what a person has asked for, and shows why it cannot be done.
function handle(action) {
  return async (event) => {
    event.preventDefault();
    show("");
    try {
      await action();
    } catch (error) {
      show(error.message);
    }
  };
}

function show(problem) {
  $("problem").textContent = problem;
}

function connect() {
  const url = ownURL($("url").value.trim());
  const wanted = $("subprotocols").value.split(",").map((s) => s.trim()).filter(Boolean);
  const started = performance.now();
  let ws;
  try {
    ws = new WebSocket(url, wanted);
  } catch {
    throw new Error(`“${$("subprotocols").value}” cannot be asked for: subprotocols are different names without spaces, with commas between them.`);
  }
  ws.binaryType = "arraybuffer";
  socket = ws;
  asked = null;
  $("outcome").hidden = true;
  $("latency").textContent = "";
  shape("opening", "Connecting …");
  ws.addEventListener("open", () => opened(ws, performance.now() - started));
  ws.addEventListener("message", (e) => received(e.data));
  ws.addEventListener("close", (e) => closed(ws, e));
}

// ownURL refuses what the page's policy would, in words that say so.
function ownURL(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new Error(`“${text}” is no URL. One looks like ${$("url").defaultValue || `ws://${location.host}/`}`);
  }
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  if (url.protocol !== scheme || url.host !== location.host) {
    throw new Error(`This page connects to its own server only: ${scheme}//${location.host}/…`);
  }
  if (url.hash) {
    throw new Error("A WebSocket URL has no part behind #.");
  }
  return url.href;
}

function opened(ws, ms) {
  const parts = [`Connected in ${milliseconds(ms)}`];
  if (ws.protocol) {
    parts.push(`subprotocol ${ws.protocol}`);
  }
  if (ws.extensions) {
    parts.push(ws.extensions.split(";")[0]);
  }
  shape("open", `${parts.join(", ")}.`);
  log.event("", "open", ws.url);
}

function received(data) {
  if (typeof data === "string") {
    log.text("in", data, size(data));
    for (const listener of listeners) {
      listener(data);
    }
  } else {
    log.binary("in", data);
  }
}

function closed(ws, event) {
  if (socket !== ws) {
    return;
  }
  socket = null;
  const { name, when } = meaning(event.code);
  const reason = event.reason || (asked?.code === event.code && asked.reason); // an answer repeats the code only
  const by = event.code === 1006 ? "" : asked ? " by this page" : " by the server";
  shape("closed", `Closed${by} with ${event.code}, ${name}.`);
  log.event(asked ? "out" : "in", "close", `${event.code} ${reason || name}`);
  const outcome = $("outcome");
  outcome.replaceChildren(paragraph("", when));
  if (reason) {
    outcome.prepend(paragraph("reason", `“${reason}”`));
  }
  outcome.hidden = false;
}

function paragraph(className, text) {
  const p = document.createElement("p");
  p.className = className;
  p.textContent = text;
  return p;
}

// shape shows the controls that suit a state, and moves the focus off those that go.
function shape(state, text) {
  const open = state === "open";
  const busy = open || state === "opening";
  const focused = document.activeElement;
  const within = (id) => $(id).contains(focused);
  $("light").className = `light ${state}`;
  $("state").textContent = text;
  $("connect").querySelectorAll("input, button").forEach((e) => (e.disabled = busy));
  $("open").hidden = busy;
  $("disconnect").hidden = !busy;
  $("shut").textContent = open ? "Disconnect" : "Give up";
  for (const id of ["send-text", "send-file", "measure"]) {
    $(id).disabled = !open;
  }
  if (state === "opening" && within("connect")) {
    $("shut").focus();
  } else if (open && within("disconnect")) {
    $("text").focus();
  } else if (!busy && (within("disconnect") || focused.disabled)) {
    $("open").focus();
  }
}

function disconnect() {
  const code = Number($("code").value.trim() || "1000");
  const reason = $("reason").value;
  if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
    $("code").focus();
    throw new Error("The close code is 1000, or 3000 to 4999: browsers keep the others to themselves.");
  }
  if (size(reason) > 123) {
    $("reason").focus();
    throw new Error(`The reason has ${size(reason)} bytes; a close frame takes 123.`);
  }
  asked = { code, reason };
  socket.close(code, reason);
}

function sendText() {
  const text = $("text").value;
  put(text);
  log.text("out", text, size(text));
  $("text").value = "";
}

async function sendFile() {
  const [file] = $("file").files;
  if (!file) {
    $("file").focus();
    throw new Error("Choose a file first.");
  }
  const buffer = await file.arrayBuffer();
  put(buffer);
  log.binary("out", buffer);
}

function put(data) {
  if (!socket || socket.readyState !== WebSocket.OPEN) {
    throw new Error("Not connected.");
  }
  socket.send(data);
  setTimeout(watchWaiting, 200, socket); // what is gone by then nobody need know
}

// watchWaiting shows what the browser has not handed on yet, as long as there is any.
function watchWaiting(ws) {
  const left = socket === ws ? ws.bufferedAmount : 0;
  $("waiting").hidden = left === 0;
  $("waiting").textContent = `${bytes(left)} wait in the browser`;
  if (left > 0) {
    setTimeout(watchWaiting, 200, ws);
  }
}

async function measureLatency() {
  const ws = socket;
  $("measure").disabled = true;
  $("latency").textContent = "Measuring …";
  try {
    $("latency").textContent = await measure(sendProbe, listeners);
  } finally {
    $("measure").disabled = socket !== ws || !ws;
  }
}

function sendProbe(text) {
  put(text);
  log.text("out", text, size(text));
}

function drawCodes() {
  $("codes").replaceChildren(...all().map(({ code, name, when }) => {
    const tr = document.createElement("tr");
    const th = document.createElement("th");
    th.scope = "row";
    th.className = "number";
    th.textContent = code;
    const cells = [name, when].map((text) => {
      const td = document.createElement("td");
      td.textContent = text;
      return td;
    });
    tr.append(th, ...cells);
    return tr;
  }));
}
