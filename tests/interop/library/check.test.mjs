// `tidegate check` asks a server of npm's ws: what it leaves to its user is found, what it does right is not.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { test } from 'node:test'

const require = createRequire(join(process.env.TIDEGATE_NPM, 'package.json'))
const { WebSocketServer } = require('ws')

/** The report. */
async function check(url, ...words) {
  const all = ['check', url, '--json', '--fail-on', 'never', '--patience', '5000', ...words]
  const child = spawn(process.env.TIDEGATE_BIN, all, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let complaint = ''
  child.stdout.on('data', (data) => (said += data))
  child.stderr.on('data', (data) => (complaint += data))
  const [code] = await once(child, 'close')
  assert.equal(code, 0, complaint)
  return JSON.parse(said)
}

/** An echo with these options; its URL and its end. */
async function echo(options) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...options })
  await once(server, 'listening')
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }))
    socket.on('error', () => {})
  })
  return { url: `ws://127.0.0.1:${server.address().port}/`, stop: () => server.close() }
}

test('what the defaults of ws let through is found and nothing that they refuse', async () => {
  const server = await echo({})
  const report = await check(server.url, '--wait', '2')
  server.stop()
  const found = new Set(report.findings.map((finding) => finding.id))
  for (const id of ['H1.foreign-origin', 'H1.null-origin', 'H12.rebinding', 'F5.size']) {
    assert(found.has(id), `${id} in ${[...found]}`)
  }
  const right = ['H3.accept', 'F1.unmasked', 'F2.reserved-bits', 'F3.reserved-opcode', 'F4.long-control', 'F4.no-pong']
  for (const id of [...right, 'F9.invalid-utf-8', 'F10.close-code', 'F11.orphan-continuation']) {
    assert(!found.has(id), `${id} in ${[...found]}`)
  }
})

test('options of ws mend what was found', async () => {
  const verifyClient = ({ req }) => {
    const { host } = req.headers
    const origins = req.headersDistinct.origin ?? []
    return /^127\.0\.0\.1:\d+$/.test(host) && [`http://${host}`, undefined].includes(origins[0]) && origins.length < 2
  }
  const server = await echo({ verifyClient, maxPayload: 1 << 20 })
  const report = await check(server.url, '--only', 'H1,H12.rebinding,F5', '--wait', '2')
  server.stop()
  assert.deepEqual(report.findings, [])
})
