// Bun's own server, which is uWebSockets. `bun bun.js [--deflate]` prints its port, and ends with its standard input.
const deflate = process.argv.includes('--deflate');
const [ECHO, ROOM, SINK] = [{ mode: 0 }, { mode: 1 }, { mode: 2 }];

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    const data = path === '/broadcast' ? ROOM : path === '/sink' ? SINK : ECHO;
    if (!server.upgrade(request, { data })) return new Response('WebSocket only', { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    maxPayloadLength: 100 << 20,
    backpressureLimit: 1 << 30,
    idleTimeout: 0,
    sendPings: false,
    open(ws) {
      if (ws.data.mode === 1) ws.subscribe('room');
    },
    message(ws, message) {
      if (ws.data.mode === 1) server.publish('room', message, deflate);
      else if (ws.data.mode === 0 && typeof message === 'string') ws.sendText(message, deflate);
      else if (ws.data.mode === 0) ws.sendBinary(message, deflate);
    },
  },
});
console.log(server.port);
process.stdin.on('end', () => process.exit(0)).resume();
