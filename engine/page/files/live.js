// The live view: a WebSocket that brings a sample each second, and what is drawn of it.
import { bytes, count, plural } from "./format.js";
import { draw } from "./chart.js";
import { meaning } from "./codes.js";

const $ = (id) => document.getElementById(id);
const kept = 90; // samples
const firstWait = 1000; // ms before connecting again, doubled until lastWait
const lastWait = 30000;

let token = "";
let wait = firstWait;
let paused = false;
let samples = [];

export function startLive(access) {
  $("pause").addEventListener("click", togglePause);
  $("login").addEventListener("submit", login);
  enter(access);
}

// enter goes where the server's answer leads: see "about".
function enter(access) {
  $("local").hidden = access !== "local";
  $("login").hidden = access !== "token";
  if (access === "open") {
    watch();
  } else {
    say("");
    $("figures").hidden = true;
    $("pause").hidden = true;
  }
}

async function login(event) {
  event.preventDefault();
  const typed = $("token").value;
  const access = await ask(typed);
  $("token-problem").textContent = access === "open" ? "" : "The server does not know this token.";
  if (access === "open") {
    token = typed;
    $("token").value = "";
    enter(access);
    $("live-title").focus(); // the form has gone
  }
}

// ask returns what a token comes to. What cannot stand in a header is no token.
async function ask(candidate) {
  const headers = candidate ? { Authorization: `Bearer ${candidate}` } : {};
  try {
    return (await (await fetch("_penstock/about", { headers })).json()).live;
  } catch {
    return "unknown";
  }
}

function watch() {
  const url = new URL("_penstock/live", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const ws = new WebSocket(url, ["penstock.live"].concat(token ? [`token.${token}`] : []));
  ws.addEventListener("open", () => {
    wait = firstWait;
    $("pause").hidden = false;
    say(paused ? "Paused" : "Live");
  });
  ws.addEventListener("message", (e) => take(JSON.parse(e.data)));
  ws.addEventListener("close", (e) => again(e.code));
}

// again connects after a while that grows, unless the server has changed its mind about
// who may.
function again(code) {
  say(`Cut off (${code}); trying again`);
  setTimeout(async () => {
    wait = Math.min(wait * 2, lastWait);
    const access = await ask(token);
    if (access === "unknown") {
      again(code);
    } else {
      enter(access);
    }
  }, wait * (0.5 + Math.random() / 2));
}

function say(text) {
  if ($("live-state").textContent !== text) { // or it would be read out again
    $("live-state").textContent = text;
  }
}

function togglePause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused" : "Live");
  if (!paused) {
    show();
  }
}

function take(sample) {
  const last = samples[samples.length - 1];
  if (last && sample.at < last.at) {
    samples = []; // the server has been started anew
  }
  samples.push(sample);
  samples = samples.slice(-kept);
  if (!paused) {
    show();
  }
}

// show draws everything of the newest sample.
function show() {
  const now = samples[samples.length - 1];
  if (!now) {
    return;
  }
  $("figures").hidden = false;
  const messages = [rates("messages_in"), rates("messages_out")];
  const traffic = [rates("bytes_in"), rates("bytes_out")];
  values({
    connections: count(now.connections),
    messages_in: count(latest(messages[0])), messages_out: count(latest(messages[1])),
    bytes_in: bytes(latest(traffic[0])), bytes_out: bytes(latest(traffic[1])),
    pending: bytes(now.pending), congested: count(now.congested),
    workers: count(now.workers), workers_most: `of ${count(now.workers_most)}`,
    budget_used: bytes(now.budget_used), budget_limit: `of ${bytes(now.budget_limit)}`,
    refused: count(now.refused), dropped: count(now.dropped), violations: count(now.violations),
    stalled: count(now.stalled), shed: count(now.shed), panics: count(now.panics),
  });
  notes({
    connections: `${count(now.opened)} since the start`,
    messages: `${count(now.messages_in)} in, ${count(now.messages_out)} out since the start`,
    bytes: `${bytes(now.bytes_in)} in, ${bytes(now.bytes_out)} out since the start`,
    workers: now.runnable === 0 ? "no connection waits for a worker" : `${plural(now.runnable, "connection")} waiting for a worker`,
    budget: `${percent(now.budget_used, now.budget_limit)} of what peers may cost`,
  });
  chart("connections", "Connections", [gauges("connections")], 4, count);
  chart("messages", "Messages per second, in and out", messages, 4, count);
  chart("bytes", "Bytes per second, in and out", traffic, 1024, bytes);
  chart("pending", "Pending bytes", [gauges("pending")], 1024, bytes);
  chart("congested", "Congested peers", [gauges("congested")], 4, count);
  chart("workers", "Workers running", [gauges("workers")], now.workers_most, count);
  chart("budget", "Memory budget used", [gauges("budget_used")], now.budget_limit, bytes);
  showCloses(now.closes);
}

function values(texts) {
  for (const [name, text] of Object.entries(texts)) {
    document.querySelector(`[data-value="${name}"]`).textContent = text;
  }
}

function notes(texts) {
  for (const [name, text] of Object.entries(texts)) {
    document.querySelector(`[data-note="${name}"]`).textContent = text;
  }
}

function percent(part, whole) {
  return (whole > 0 ? part / whole : 0).toLocaleString("en", { style: "percent", maximumFractionDigits: 2 });
}

const gauges = (name) => samples.map((s) => ({ at: s.at / 1000, value: s[name] }));

// rates are differences of a total: at each sample, per second since the one before.
function rates(name) {
  return samples.slice(1).map((s, i) => {
    const before = samples[i];
    return { at: s.at / 1000, value: Math.max(0, (s[name] - before[name]) / ((s.at - before.at) / 1000)) };
  });
}

const latest = (points) => (points.length > 0 ? points[points.length - 1].value : 0);

function chart(name, label, series, least, format) {
  const svg = document.querySelector(`[data-chart="${name}"]`);
  draw(svg, series, samples[samples.length - 1].at / 1000, least);
  const said = series.map((points) => `now ${format(latest(points))}, at most ${format(Math.max(0, ...points.map((p) => p.value)))}`);
  svg.setAttribute("aria-label", `${label} in the last minute: ${said.join("; ")}`);
}

function showCloses(list) {
  const most = Math.max(1, ...list.map((c) => c.count));
  $("no-closes").hidden = list.length > 0;
  $("closes").replaceChildren(...list.map(({ code, count: n }) => {
    const tr = document.createElement("tr");
    const th = document.createElement("th");
    th.scope = "row";
    th.textContent = code === 0 ? "others" : `${code} ${meaning(code).name}`;
    const bar = document.createElement("td");
    const fill = document.createElement("span");
    fill.className = "bar";
    fill.style.inlineSize = `${(n / most) * 100}%`;
    bar.append(fill);
    const number = document.createElement("td");
    number.className = "number";
    number.textContent = count(n);
    tr.append(th, bar, number);
    return tr;
  }));
}
