// `tidegate guard` before a server of npm's ws, asked by its client: what is said comes back, what is blocked does not.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

const require = createRequire(join(process.env.TIDEGATE_NPM, 'package.json'))
const { WebSocket, WebSocketServer } = require('ws')

/** An echo, its port and what it has heard. */
async function echo(options) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...options })
  await once(server, 'listening')
  const heard = []
  const codes = []
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => {
      heard.push(data.toString())
      socket.send(data, { binary })
    })
    socket.on('close', (code) => codes.push(code))
    socket.on('error', () => {})
  })
  return { port: server.address().port, heard, codes, stop: () => server.close() }
}

/** A guard before that port; its URL and its end. */
async function guard(upstream, policy) {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-guard-'))
  const file = join(folder, 'guard.toml')
  writeFileSync(file, policy)
  const words = ['guard', '--listen', '127.0.0.1:0', '--admin', 'off', '--log', 'warn']
  words.push('--upstream', `ws://127.0.0.1:${upstream}`, '--policy', file)
  const child = spawn(process.env.TIDEGATE_BIN, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(child.stdout), 'line')
  return {
    url: line.replace('Tidegate is on guard: http', 'ws'),
    async stop() {
      child.kill('SIGTERM')
      const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
      assert.equal(code, 0)
      rmSync(folder, { recursive: true })
    },
  }
}

for (const deflate of ['declined', 'on']) {
  test(`ws on both sides of the guard, deflate ${deflate}`, async () => {
    const server = await echo({ perMessageDeflate: true })
    const policy = `[limits]\nmessage_size = "1MiB"\n[compression]\ndeflate = "${deflate}"\n[rules]\nsqli = "block"\n`
    const between = await guard(server.port, policy)
    const client = new WebSocket(between.url, { perMessageDeflate: { threshold: 0 } })
    await once(client, 'open')
    assert.equal(client.extensions.includes('permessage-deflate'), deflate === 'on')
    for (const length of [0, 1, 125, 126, 65_000]) {
      const said = 'tide '.repeat(length / 5 + 1).slice(0, length)
      client.send(said)
      const [data, binary] = await once(client, 'message')
      assert.equal(data.toString(), said)
      assert.equal(binary, false)
    }
    const before = server.heard.length
    client.send(`{"id":"1' UNION SELECT password FROM users -- "}`)
    const [code, reason] = await once(client, 'close')
    assert.equal(code, 1008)
    assert.match(reason.toString(), /^sqli/)
    while (server.codes.length === 0) await new Promise((next) => setTimeout(next, 10))
    await between.stop()
    assert.equal(server.heard.length, before)
    assert.deepEqual(server.codes, [1001])
    server.stop()
  })
}
