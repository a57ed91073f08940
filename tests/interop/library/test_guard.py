"""`tidegate guard` between programs of others: PyPI's websockets on both sides, Debian's nginx in front of it and behind it."""

import asyncio
import contextlib
import os
import pathlib
import tempfile
import unittest

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support import PATIENCE, between, questions
from test_between import NGINX

BINARY = os.environ.get("TIDEGATE_BIN", "target/debug/tidegate")
ROOM = "[limits]\nmessage_size = \"2MiB\"\n"
DEFLATE = "[compression]\ndeflate = \"on\"\n"


@contextlib.asynccontextmanager
async def guard(upstream, policy=""):
    """A guard before a port of this machine; its own port."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "guard.toml")
        file.write_text(policy)
        words = ("guard", "--listen", "127.0.0.1:0", "--admin", "off", "--log", "warn")
        words += ("--upstream", f"ws://127.0.0.1:{upstream}", "--policy", str(file))
        process = await asyncio.create_subprocess_exec(BINARY, *words, stdout=asyncio.subprocess.PIPE)
        try:
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert line.startswith(b"Tidegate is on guard: http://127.0.0.1:"), line
            yield int(line.strip().rstrip(b"/").rsplit(b":", 1)[1])
        finally:
            if process.returncode is None:
                process.terminate()
            code = await asyncio.wait_for(process.wait(), PATIENCE)
        assert code == 0, code


@contextlib.asynccontextmanager
async def server(seen=None):
    """An echo of websockets, compressed if it is asked; its port."""

    async def back(ws):
        async for message in ws:
            if seen is not None:
                seen.append(message)
            await ws.send(message)

    async with serve(back, "127.0.0.1", 0, max_size=None) as listening:
        yield listening.sockets[0].getsockname()[1]


async def speaks(test, port, compression="deflate", most=1 << 20):
    """All questions come back, in one frame and in several, and the end is clean. Long ones say the same again and again: beyond
    64 KiB and 100 to 1 the guard takes what is compressed for a bomb."""
    url = f"ws://localhost:{port}/"
    async with connect(url, max_size=None, proxy=None, compression=compression) as ws:
        for question in (question for question in questions() if len(question) <= most):
            half = len(question) // 2
            for said in (question, [question[:half], question[half:]]):
                await ws.send(said)
                test.assertEqual(await asyncio.wait_for(ws.recv(), PATIENCE), question)
    test.assertEqual(ws.close_code, 1000)


class Guard(unittest.IsolatedAsyncioTestCase):
    async def test_websockets_on_both_sides_hears_what_was_said(self):
        async with server() as behind:
            for policy in (ROOM, ROOM + DEFLATE):
                async with guard(behind, policy) as port:
                    for compression in (None, "deflate"):
                        with self.subTest(policy=policy, compression=compression):
                            await speaks(self, port, compression, 1000 if DEFLATE in policy else 1 << 20)

    async def test_nginx_stands_in_front_and_behind(self):
        async with server() as behind:
            config = NGINX.replace("{server}", str(behind))
            async with between(os.environ["TIDEGATE_NGINX"], config, "-c") as inner:
                async with guard(inner, ROOM + DEFLATE) as middle:
                    config = NGINX.replace("{server}", str(middle))
                    async with between(os.environ["TIDEGATE_NGINX"], config, "-c") as outer:
                        await speaks(self, outer, most=1000)

    async def test_what_is_blocked_reaches_nobody_compressed_or_not(self):
        seen = []
        async with server(seen) as behind:
            async with guard(behind, DEFLATE + "[rules]\nmode = \"block\"\n") as port:
                for compression in (None, "deflate"):
                    with self.subTest(compression=compression):
                        async with connect(f"ws://localhost:{port}/", proxy=None, compression=compression) as ws:
                            await ws.send('{"id":"42"}')
                            self.assertEqual(await asyncio.wait_for(ws.recv(), PATIENCE), '{"id":"42"}')
                            await ws.send(['{"id":"1\' UNION SEL', 'ECT password FROM users -- "}'])
                            with self.assertRaises(ConnectionClosed):
                                await asyncio.wait_for(ws.recv(), PATIENCE)
                        self.assertEqual(ws.close_code, 1008)
        self.assertEqual(seen, ['{"id":"42"}'] * 2)

    async def test_a_foreign_page_is_refused_and_the_server_never_asked(self):
        seen = []
        async with server(seen) as behind, guard(behind) as port:
            for origin in ("https://evil.example", "null"):
                with self.assertRaises(InvalidStatus) as refused:
                    await connect(f"ws://localhost:{port}/", proxy=None, origin=origin)
                self.assertEqual(refused.exception.response.status_code, 403)
            await speaks_once(f"ws://localhost:{port}/", f"http://localhost:{port}")


async def speaks_once(url, origin):
    async with connect(url, proxy=None, origin=origin) as ws:
        await ws.send("hello")
        assert await asyncio.wait_for(ws.recv(), PATIENCE) == "hello"


if __name__ == "__main__":
    unittest.main()
