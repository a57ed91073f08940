"""`tidegate check` asks a server of PyPI's websockets: what it leaves to its user is found, what it does right is not."""

import asyncio
import json
import logging
import os
import unittest

from websockets.asyncio.server import serve

from support import PATIENCE

# It would tell of each connection that breaks a rule, which is all of them.
logging.getLogger("websockets").setLevel(logging.CRITICAL)
BINARY = os.environ.get("TIDEGATE_BIN", "target/debug/tidegate")


async def check(url, *words):
    """The report; its findings by id."""
    pipe = asyncio.subprocess.PIPE
    words = ("check", url, "--json", "--fail-on", "never", "--patience", "5000", *words)
    process = await asyncio.create_subprocess_exec(BINARY, *words, stdout=pipe, stderr=pipe)
    said, complaint = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, complaint.decode()
    report = json.loads(said)
    return report, {finding["id"]: finding for finding in report["findings"]}


async def back(ws):
    async for message in ws:
        await ws.send(message)


class Websockets(unittest.IsolatedAsyncioTestCase):
    async def test_what_its_defaults_let_through_is_found_and_nothing_that_they_refuse(self):
        async with serve(back, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            report, found = await check(f"ws://127.0.0.1:{port}/", "--wait", "20")
        self.assertLessEqual({"H1.foreign-origin", "H1.null-origin", "H12.rebinding"}, set(found))
        # Its Sans-I/O core is strict where it matters, and its limits are 1 MiB and 10 s.
        for id in ("H3.accept", "F1.unmasked", "F2.reserved-bits", "F3.reserved-opcode", "F4.long-control",
                   "F4.no-pong", "F5.size", "F9.invalid-utf-8", "F11.orphan-continuation", "H11.handshake-timeout"):
            self.assertNotIn(id, found)
        limits = {limit["name"]: limit for limit in report["limits"]}
        self.assertEqual(limits["message in one frame"]["passed"], 1 << 20)

    async def test_an_origin_list_mends_what_was_found(self):
        async def own(port):
            return await check(f"ws://127.0.0.1:{port}/", "--level", "handshake", "--only", "H1",
                               "--origin", f"http://127.0.0.1:{port}")

        origins = []
        async with serve(back, "127.0.0.1", 0, origins=origins) as server:
            port = server.sockets[0].getsockname()[1]
            origins.append(f"http://127.0.0.1:{port}")
            _, found = await own(port)
        self.assertEqual(set(found), set())
