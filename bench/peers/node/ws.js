// npm ws with its two native add-ons. For the fan-out the frame is made once and its octets are written to each socket,
// since ws has no prepared message. `node ws.js [--deflate]` prints its port, and ends with its standard input.
import { createServer } from 'node:http';
import { Sender, WebSocketServer } from 'ws';

const deflate = process.argv.includes('--deflate');
const settings = { noServer: true, maxPayload: 100 << 20, perMessageDeflate: deflate && { threshold: 0 } };
const echo = new WebSocketServer({ ...settings, clientTracking: false });
const sink = new WebSocketServer({ ...settings, clientTracking: false });
const room = new WebSocketServer(settings);
const quiet = () => {};

echo.on('connection', (socket) => {
  socket.on('error', quiet);
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
sink.on('connection', (socket) => {
  socket.on('error', quiet);
  socket.on('message', quiet);
});
room.on('connection', (socket) => {
  socket.on('error', quiet);
  socket.on('message', (data, binary) => {
    const opcode = binary ? 2 : 1;
    const frame = Buffer.concat(Sender.frame(data, { fin: true, rsv1: false, opcode, mask: false, readOnly: true }));
    for (const member of room.clients) {
      if (member.readyState === 1) member._socket.write(frame);
    }
  });
});

const http = createServer();
http.on('upgrade', (request, socket, head) => {
  const path = request.url.split('?')[0];
  const server = path === '/broadcast' ? room : path === '/sink' ? sink : echo;
  server.handleUpgrade(request, socket, head, (ws) => server.emit('connection', ws));
});
http.listen({ port: 0, host: '127.0.0.1', backlog: 16384 }, () => console.log(http.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
