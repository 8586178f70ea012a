// Files by callbacks, promises and synchronous calls, a TCP and a Unix server with a client each, and child processes.
"use strict";
const fs = require("fs");
const net = require("net");
const { execFileSync, spawnSync } = require("child_process");

function exchange(where) {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.end("hello"));
    server.on("error", reject);
    server.listen(where, () => {
      const bound = server.address();
      const client = net.connect(typeof bound === "string" ? bound : { port: bound.port, host: "127.0.0.1" });
      client.on("error", reject);
      client.resume();
      client.on("end", () => server.close(resolve));
    });
  });
}

async function main() {
  fs.mkdirSync("made/below", { recursive: true });
  fs.writeFileSync("made/sync", "sync");
  await fs.promises.writeFile("made/promised", "promised");
  await fs.promises.rename("made/promised", "made/below/renamed");
  await fs.promises.symlink("sync", "made/link");
  await fs.promises.link("made/sync", "made/hard");
  await fs.promises.truncate("made/hard", 2);
  await fs.promises.chmod("made/hard", 0o600);
  await fs.promises.copyFile("made/sync", "made/copied");
  await fs.promises.readFile("made/absent").catch(() => {});
  fs.readdirSync("made");
  fs.rmdirSync(fs.mkdtempSync("made/node-"));
  await exchange({ host: "127.0.0.1", port: 0 });
  await exchange({ path: process.cwd() + "/socket" });
  await new Promise((resolve) => net.connect(9, "127.0.0.1").on("error", resolve));
  execFileSync("/bin/cat", ["made/sync"]);
  spawnSync("/bin/sh", ["-c", "echo child > made/child; exit 3"]);
  fs.rmSync("made", { recursive: true });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
