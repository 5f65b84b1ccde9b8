// What the rival servers in JavaScript have in common, for Node and Bun alike: the
// command line of package peer, and the line that it prints.

// commandLine returns {host, port, mode} of a server that has these modes, the
// first of them by default. A mistake ends the process.
export function commandLine(name, modes) {
  const flags = { addr: "127.0.0.1:0", mode: modes[0] };
  const args = process.argv.slice(2);
  for (let i = 0; i < args.length; i += 2) {
    const flag = args[i].replace(/^--?/, "");
    if (!(flag in flags) || i + 1 === args.length) fail(name, `${args[i]}: allowed: -addr host:port, -mode name`);
    flags[flag] = args[i + 1];
  }
  if (!modes.includes(flags.mode)) fail(name, `-mode "${flags.mode}": allowed: ${modes.join(", ")}`);
  const colon = flags.addr.lastIndexOf(":");
  return { host: flags.addr.slice(0, colon), port: Number(flags.addr.slice(colon + 1)), mode: flags.mode };
}

// listening prints the line that tells the address; SIGTERM ends the process.
export function listening(host, port) {
  console.log(`listening on ws://${host}:${port}/`);
}

function fail(name, message) {
  console.error(`${name}: ${message}`);
  process.exit(1);
}
