// Latency as a page can measure it: pings are out of its reach, so it times text messages
// that the server sends back.
import { milliseconds } from "./format.js";

const probes = 20;
const patience = 2000; // ms for one

// measure sends one probe after the other, and says how long they took.
export async function measure(send, listeners) {
  const times = [];
  for (let i = 0; i < probes; i++) {
    const ms = await roundTrip(send, listeners, `latency ${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)} ${i + 1}/${probes}`);
    if (ms === null) {
      return i === 0
        ? `No latency: the server has not sent a text message back within ${patience / 1000} s, as one that echoes or broadcasts would.`
        : `Of ${i + 1} messages the last has not come back within ${patience / 1000} s. ${summary(times)}`;
    }
    times.push(ms);
  }
  return summary(times);
}

function summary(times) {
  times.sort((a, b) => a - b);
  const [least, median, most] = [times[0], times[times.length >> 1], times[times.length - 1]];
  return `Round trip of a text message, through the server’s handler and back: median ${milliseconds(median)}, of ${times.length} from ${milliseconds(least)} to ${milliseconds(most)}.`;
}

// roundTrip resolves with null if the probe does not come back in time.
function roundTrip(send, listeners, text) {
  return new Promise((resolve, reject) => {
    const over = (ms) => {
      listeners.delete(hear);
      clearTimeout(timer);
      resolve(ms);
    };
    const hear = (data) => data === text && over(performance.now() - started);
    const timer = setTimeout(() => over(null), patience);
    const started = performance.now();
    listeners.add(hear);
    try {
      send(text);
    } catch (error) {
      over(null);
      reject(error);
    }
  });
}
