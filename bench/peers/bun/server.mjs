// An echo or fan-out server on Bun.serve, whose WebSockets are uWebSockets in C++:
// the limit to close in on. As Bun's documentation has it: a fan-out is a topic that
// everybody subscribes to, which Bun writes to all subscribers itself and for which
// it batches what one turn of its loop publishes. Compression is off by default.
//
// package peer (../peer) says how it is run.
import { commandLine, listening } from "../peer/args.mjs";

const { host, port, mode } = commandLine("bun", ["echo", "fanout"]);

const everybody = "everybody";

// As large as the other servers allow; Bun's default is 16 MiB.
const limits = { maxPayloadLength: 64 << 20, backpressureLimit: 64 << 20 };

const handlers = {
  // echo answers every message with itself.
  echo: {
    message(socket, message) {
      socket.send(message);
    },
  },
  // fanout sends every message to all connections.
  fanout: {
    open(socket) {
      socket.subscribe(everybody);
    },
    message(_, message) {
      server.publish(everybody, message); // the sender, too, unlike socket.publish
    },
  },
};

const server = Bun.serve({
  hostname: host,
  port,
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("a WebSocket handshake was expected\n", { status: 426 });
  },
  websocket: { ...limits, ...handlers[mode] },
});

listening(host, server.port);
