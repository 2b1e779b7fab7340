/**
 * A front for an aggregator while the page is worked on: serves `aggregator/ui/dist` and hands
 * everything else on, web sockets too. `KANSOKU_URL=http://127.0.0.1:9428 node front.mjs` (PORT).
 */
import { existsSync, readFileSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const DIST = fileURLToPath(new URL("../../aggregator/ui/dist", import.meta.url));

/** Starts the front; resolves to its base URL and how to stop it. */
export function startFront(target, port = 0) {
  const { hostname, port: targetPort } = new URL(target);
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://front").pathname;
    const name = join(DIST, normalize(path === "/" ? "/index.html" : path));
    if (name.startsWith(DIST) && existsSync(name)) {
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "text/plain" });
      return response.end(readFileSync(name));
    }
    const { method, url, headers } = request;
    const onward = ask({ hostname, port: targetPort, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, socket) => {
    const onward = connect(Number(targetPort), hostname, () => {
      const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      onward.write(`GET ${request.url} HTTP/1.1\r\n${headers.join("")}\r\n`);
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
  });
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => {
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        close: () => {
          server.closeAllConnections();
          server.close();
        },
      });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const front = await startFront(process.env.KANSOKU_URL, Number(process.env.PORT ?? 0));
  console.log(front.url);
}
