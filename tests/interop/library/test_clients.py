"""Clients that others wrote, at each of our doors: accept(), hyper, axum; plain and through TLS."""

import asyncio
import ssl
import unittest

import picows
import websockets
from websockets.asyncio.client import connect

from support import DOORS, PATIENCE, echo, questions, trusting


class Websockets(unittest.IsolatedAsyncioTestCase):
    async def test_everything_comes_back_compressed_or_not(self):
        for door in DOORS:
            for secure in (False, True):
                async with echo(door, secure) as port:
                    for compression in (None, "deflate"):
                        with self.subTest(door=door, secure=secure, compression=compression):
                            await asyncio.wait_for(self.talk(port, secure, compression), PATIENCE)

    async def talk(self, port, secure, compression):
        scheme = "wss" if secure else "ws"
        options = {"ssl": trusting()} if secure else {}
        async with connect(
            f"{scheme}://localhost:{port}/any?path",
            subprotocols=["echo.v1", "other"],
            compression=compression,
            max_size=None,
            proxy=None,
            **options,
        ) as ws:
            self.assertEqual(ws.subprotocol, "echo.v1")
            extensions = [extension.name for extension in ws.protocol.extensions]
            self.assertEqual(extensions, ["permessage-deflate"] if compression else [])
            for question in questions():
                await ws.send(question)
                self.assertEqual(await ws.recv(), question)
            # In pieces, with a ping between them.
            await ws.send(["three ", "little ", "pieces"])
            self.assertEqual(await ws.recv(), "three little pieces")
            await (await ws.ping())
        self.assertEqual((ws.close_code, ws.protocol.close_rcvd_then_sent), (1000, False))

    async def test_a_text_that_is_none_is_closed_with_1007(self):
        for door in DOORS:
            async with echo(door) as port:
                with self.subTest(door=door):
                    async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as ws:
                        await ws.send(b"\xff\xfe", text=True)
                        with self.assertRaises(websockets.ConnectionClosedError) as caught:
                            await ws.recv()
                        self.assertEqual(caught.exception.rcvd.code, 1007)


class Asker(picows.WSListener):
    """Sends the questions one after the other, then a Close."""

    def __init__(self):
        self.over = asyncio.get_running_loop().create_future()
        self.left = list(questions())
        self.asked = None

    def on_ws_connected(self, transport):
        self.next(transport)

    def next(self, transport):
        if not self.left:
            transport.send_close(picows.WSCloseCode.OK, b"enough")
            return
        self.asked = self.left.pop(0)
        if isinstance(self.asked, str):
            transport.send(picows.WSMsgType.TEXT, self.asked.encode())
        else:
            transport.send(picows.WSMsgType.BINARY, self.asked)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            self.over.set_result(frame.get_close_code())
            transport.disconnect()
            return
        answer = frame.get_payload_as_utf8_text() if frame.msg_type == picows.WSMsgType.TEXT else frame.get_payload_as_bytes()
        if answer != self.asked:
            self.over.set_exception(AssertionError(f"{self.asked[:40]!r} came back as {answer[:40]!r}"))
            transport.disconnect()
            return
        self.next(transport)

    def on_ws_disconnected(self, transport):
        if not self.over.done():
            self.over.set_exception(AssertionError("it broke"))


class Picows(unittest.IsolatedAsyncioTestCase):
    async def test_everything_comes_back(self):
        for door in DOORS:
            for secure in (False, True):
                async with echo(door, secure) as port:
                    with self.subTest(door=door, secure=secure):
                        scheme = "wss" if secure else "ws"
                        context = trusting() if secure else ssl.create_default_context()
                        _, asker = await picows.ws_connect(
                            Asker,
                            f"{scheme}://localhost:{port}/",
                            ssl_context=context,
                            max_frame_size=1 << 24,
                        )
                        self.assertEqual(await asyncio.wait_for(asker.over, PATIENCE), 1000)


if __name__ == "__main__":
    unittest.main()
