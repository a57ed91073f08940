// npm's ws on both sides: a client at each of our doors, and a server that our client asks.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

const require = createRequire(join(process.env.TIDEGATE_NPM, 'package.json'))
const { WebSocket, WebSocketServer } = require('ws')
const peer = process.env.TIDEGATE_PEER
const pair = process.env.TIDEGATE_PAIR
const certificate = readFileSync(join(pair, 'cert.pem'))
const key = readFileSync(join(pair, 'key.pem'))

/** Our echo behind a door; its port and its end. */
async function echo(door, secure) {
  const words = ['echo', door, ...(secure ? [pair] : [])]
  const child = spawn(peer, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(child.stdout), 'line')
  return {
    port: Number(line.split(':').pop()),
    async stop() {
      child.stdin.end()
      const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
      assert.equal(code, 0)
    },
  }
}

/** Our client asks; what was agreed on. */
async function ask(...words) {
  const child = spawn(peer, ['ask', ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let complaint = ''
  child.stdout.on('data', (data) => (said += data))
  child.stderr.on('data', (data) => (complaint += data))
  const [code] = await once(child, 'close')
  assert.equal(code, 0, complaint)
  return JSON.parse(said)
}

function questions() {
  const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]
  return lengths.flatMap((length) => [
    'é tide '.repeat(length / 7 + 1).slice(0, length),
    Buffer.from(Array.from({ length }, (_, n) => (n * 31) & 255)),
  ])
}

for (const door of ['accept', 'hyper', 'axum']) {
  for (const secure of [false, true]) {
    for (const perMessageDeflate of [false, true]) {
      test(`ws as the client of ${door}, TLS ${secure}, compressed ${perMessageDeflate}`, async () => {
        const server = await echo(door, secure)
        const url = `${secure ? 'wss' : 'ws'}://localhost:${server.port}/`
        const options = { perMessageDeflate: perMessageDeflate && { threshold: 0 }, ca: certificate, maxPayload: 1 << 24 }
        const ws = new WebSocket(url, ['echo.v2', 'x'], options)
        await once(ws, 'open')
        assert.equal(ws.protocol, 'echo.v2')
        assert.equal(ws.extensions.includes('permessage-deflate'), perMessageDeflate)
        for (const question of questions()) {
          ws.send(question)
          const [answer, binary] = await once(ws, 'message')
          assert.equal(binary, typeof question !== 'string')
          assert.ok(answer.equals(Buffer.from(question)), `${question.length} came back as ${answer.length}`)
        }
        ws.send('three ', { fin: false })
        ws.ping('between')
        ws.send('pieces', { fin: true })
        const [[whole], [payload]] = await Promise.all([once(ws, 'message'), once(ws, 'pong')])
        assert.equal(`${whole} ${payload}`, 'three pieces between')
        ws.close(4000, 'enough')
        const [code] = await once(ws, 'close')
        assert.equal(code, 4000)
        await server.stop()
      })
    }
  }
}

for (const secure of [false, true]) {
  for (const perMessageDeflate of [false, true]) {
    test(`ws as the server of our client, TLS ${secure}, compressed ${perMessageDeflate}`, async () => {
      const options = { perMessageDeflate, handleProtocols: () => 'echo.v1', maxPayload: 1 << 24 }
      const https = secure ? createServer({ cert: certificate, key }) : undefined
      const server = new WebSocketServer(secure ? { server: https, ...options } : { host: '127.0.0.1', port: 0, ...options })
      if (secure) https.listen(0, '127.0.0.1')
      await once(secure ? https : server, 'listening')
      server.on('connection', (ws) => ws.on('message', (data, binary) => ws.send(data, { binary })))
      const { port } = (secure ? https : server).address()
      const root = secure ? ['--root', join(pair, 'cert.pem')] : []
      const agreed = await ask('--deflate', '--subprotocol', 'echo.v1', ...root, `${secure ? 'wss' : 'ws'}://localhost:${port}/`)
      assert.deepEqual(agreed, { http: '1.1', deflate: perMessageDeflate, subprotocol: 'echo.v1', proxy: false, tls: secure })
      server.close()
      https?.close()
    })
  }
}
