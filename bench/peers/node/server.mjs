// An echo or fan-out server on the npm package ws, run by Node, as ws's README has
// both, with the defaults that are for speed: no compression, and bufferutil, which
// the README recommends for Nodes that have no built-in masking. One thread: ws has
// no other way, and the server has one CPU.
//
// package peer (../peer) says how it is run.
import { WebSocketServer, WebSocket } from "ws";

import { commandLine, listening } from "../peer/args.mjs";

const { host, port, mode } = commandLine("node", ["echo", "fanout"]);

const server = new WebSocketServer({ host, port, perMessageDeflate: false });

server.on("listening", () => listening(host, server.address().port));

server.on("connection", (socket) => {
  socket.on("error", () => {}); // the connection ends; nothing else depends on it
  socket.on("message", mode === "echo" ? echo : fanout);
});

// echo answers every message with itself.
function echo(data, binary) {
  this.send(data, { binary });
}

// fanout sends every message to all connections: the README's server broadcast.
function fanout(data, binary) {
  for (const client of server.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
  }
}
