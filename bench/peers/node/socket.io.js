// Socket.IO over WebSocket alone, with ws beneath it. What one client emits as `broadcast` all get.
// It prints its port, and ends with its standard input.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const http = createServer();
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  wsEngine: WebSocketServer,
  maxHttpBufferSize: 100 << 20,
  perMessageDeflate: false,
  httpCompression: false,
});
io.on('connection', (socket) => {
  socket.on('broadcast', (data) => io.emit('broadcast', data));
});
http.listen({ port: 0, host: '127.0.0.1', backlog: 16384 }, () => console.log(http.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
