"""Peers that do not read, or stopped altogether, on real sockets: the server's memory stays bounded, others are served
as ever, and the dead are let go. Waits of half a minute are for `--full` only."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
import urllib.parse

from support import FULL, PID, WS, fresh, until
from websockets.asyncio.client import connect

HOST, PORT = urllib.parse.urlsplit(WS).hostname, urllib.parse.urlsplit(WS).port
MASK = b"\x11\x22\x33\x44"


def frame(opcode, payload):
    """A whole frame as a client sends it; the mask is fixed, for no proxy stands between."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    key = int.from_bytes(MASK * (length // 4 + 1), "big") >> (8 * (4 - length % 4))
    return head + MASK + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")


def raw(path, receive_buffer=None):
    """A bare TCP connection that has had its upgrade; nobody reads from it unless a test does."""
    peer = socket.socket()
    if receive_buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.settimeout(5)
    peer.connect((HOST, PORT))
    peer.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return peer


def served(peer_port):
    """True while the server's own end of that connection is established."""
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            local, remote, state = line.split()[1:4]
            if int(local[-4:], 16) == PORT and int(remote[-4:], 16) == peer_port:
                return state == "01"
    return False


def resident():
    """The server's resident memory, in bytes."""
    with open(f"/proc/{PID}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


async def turns(enough):
    """The turns of an ordinary client until it is told that it is enough. How long one took is no verdict:
    machines are busy."""
    count = 0
    async with connect(f"{WS}/echo") as peer:
        while not enough.is_set():
            await peer.send("turn")
            await asyncio.wait_for(peer.recv(), 60)
            count += 1
            await asyncio.sleep(0.005)
    return count


@unittest.skipIf(PID is None, "run by `cargo xtask interop`, which tells the server's process")
class NeverReads(unittest.IsolatedAsyncioTestCase):
    async def test_an_echo_that_is_not_read_holds_its_sender_back_and_no_one_else(self):
        before = resident()
        enough = asyncio.Event()
        bystander = asyncio.create_task(turns(enough))
        peer = raw("/echo", receive_buffer=16384)
        message = frame(2, os.urandom(60_000))
        peer.setblocking(False)
        sent, stalled, loop = 0, 0, asyncio.get_running_loop()
        end = loop.time() + 2
        while loop.time() < end and sent < 4000 * len(message):
            try:
                sent += peer.send(message[sent % len(message) :])
            except BlockingIOError:
                stalled += 1
                await asyncio.sleep(0.01)
            else:
                await asyncio.sleep(0)
        self.assertGreater(stalled, 20, "the sender was never held back")
        self.assertLess(resident() - before, 24 << 20, "memory grows with what is not read")
        enough.set()
        self.assertGreater(await bystander, 10, "an ordinary client was not served meanwhile")

        # Once it reads, all that was taken comes back, and the rest of the last message may be sent.
        whole = -(-sent // len(message))
        rest = message[sent % len(message) :] if sent % len(message) else b""

        async def send_rest():
            await loop.sock_sendall(peer, rest)

        sending = asyncio.create_task(send_rest())
        expected = whole * (4 + 60_000)
        got = 0
        while got < expected:
            got += len(await asyncio.wait_for(loop.sock_recv(peer, 1 << 20), 10))
        await sending
        self.assertEqual(got, expected)
        peer.close()

    async def test_a_subscriber_that_does_not_read_is_let_go_and_the_others_hear_all(self):
        channel = fresh("chat")
        hub = f"{WS}/connection/websocket"
        slow = raw("/connection/websocket", receive_buffer=16384)
        port = slow.getsockname()[1]
        hello = [{"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": channel}}]
        slow.sendall(frame(1, "\n".join(map(json.dumps, hello)).encode()))
        async with connect(hub, max_queue=None) as reader, connect(hub) as writer:
            for peer in (reader, writer):
                await peer.send(json.dumps(hello[0]))
                await peer.recv()
            await reader.send(json.dumps(hello[1]))
            self.assertIn('"subscribe"', await reader.recv())
            before = resident()
            # 12 MB: more than any socket buffer and the outbox take in.
            for n in range(300):
                await writer.send(json.dumps({"id": 10 + n, "publish": {"channel": channel, "data": f"{n} " + "x" * 40_000}}))
                reply = json.loads(await asyncio.wait_for(writer.recv(), 5))
                self.assertNotIn("error", reply)
            heard = []
            while len(heard) < 300:
                for line in (await asyncio.wait_for(reader.recv(), 5)).split("\n"):
                    publication = json.loads(line).get("push", {}).get("pub")
                    if publication:
                        heard.append(int(publication["data"].split()[0]))
            self.assertEqual(heard, list(range(300)))
            await until("the slow one to be let go", lambda: not served(port))
            self.assertLess(resident() - before, 48 << 20)
        slow.close()


STOPPED = """
import asyncio, sys
from websockets import ConnectionClosed
from websockets.asyncio.client import connect
async def main(url, hello):
    async with connect(url, ping_interval=None) as peer:
        await peer.send(hello)
        await peer.recv()
        print(peer.transport.get_extra_info("sockname")[1], flush=True)
        try:
            async for message in peer:
                if message == "{}":
                    await peer.send("{}")
        except ConnectionClosed:
            pass
    print("closed", flush=True)
asyncio.run(main(*sys.argv[1:]))
"""


@unittest.skipIf(PID is None, "run by `cargo xtask interop`, which tells the server's process")
class Dead(unittest.IsolatedAsyncioTestCase):
    async def stop_one(self, path, hello):
        """Stops a client's process with SIGSTOP; how long the server kept its connection, in seconds."""
        client = subprocess.Popen([sys.executable, "-c", STOPPED, f"{WS}{path}", hello], stdout=subprocess.PIPE, text=True)
        try:
            port = int(await asyncio.to_thread(client.stdout.readline))
            self.assertTrue(served(port))
            client.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            await until(f"the stopped client of {path} to be let go", lambda: not served(port), seconds=90, step=0.2)
            took = time.monotonic() - began
            client.send_signal(signal.SIGCONT)
            self.assertIn("closed", await asyncio.to_thread(client.stdout.read))
            return took
        finally:
            client.kill()
            client.wait()
            client.stdout.close()

    async def keeps(self, seconds):
        """A client that says nothing but answers pings."""
        async with connect(f"{WS}/echo", ping_interval=None) as peer:
            await asyncio.sleep(seconds)
            await peer.send("still here")
            self.assertEqual(await peer.recv(), "still here")

    async def half_a_head(self):
        """A handshake that never ends."""
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(b"GET /echo HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        answer = await reader.read()
        writer.close()
        return time.monotonic() - began, answer

    async def test_the_dead_are_let_go_and_the_silent_are_not(self):
        connect_command = json.dumps({"id": 1, "connect": {}})
        echo, hub, head, _ = await asyncio.gather(
            self.stop_one("/echo", "hello"), self.stop_one("/connection/websocket", connect_command), self.half_a_head(), self.keeps(50)
        )
        # 25 s of silence, 10 s for the pong, and a little for the close.
        self.assertGreater(echo, 30)
        self.assertLess(echo, 45)
        self.assertGreater(hub, 20)
        self.assertLess(hub, 60)
        self.assertGreater(head[0], 8)
        self.assertLess(head[0], 13)
        self.assertIn(head[1][:12], (b"", b"HTTP/1.1 408"))


def load_tests(loader, tests, pattern):
    """Leaves out what takes a minute, unless it is asked for; a test that is merely skipped would count as a failure."""
    suite = unittest.TestSuite()
    for case in (NeverReads, Dead) if FULL else (NeverReads,):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite
