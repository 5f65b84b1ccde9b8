// The page's two halves know nothing of each other.
import { startTry } from "./try.js";
import { startLive } from "./live.js";

const about = await fetch("_penstock/about").then((r) => r.json());
const endpoint = new URL(about.endpoint, location.href);
endpoint.protocol = location.protocol === "https:" ? "wss:" : "ws:";

document.title = `Penstock ${location.host}`;
document.getElementById("server").textContent = location.host;
startTry(endpoint.href);
startLive(about.live);
