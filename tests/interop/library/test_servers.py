"""Servers that others wrote, asked by our client: over HTTP/1.1 and HTTP/2, compressed or not."""

import asyncio
import contextlib
import unittest

import hypercorn.asyncio
import hypercorn.config
import picows
from websockets.asyncio.server import serve

from support import PAIR, ask, free_port, showing


class Websockets(unittest.IsolatedAsyncioTestCase):
    async def test_it_is_asked_and_agrees(self):
        for secure in (False, True):
            for compression in (None, "deflate"):
                with self.subTest(secure=secure, compression=compression):
                    await self.talk(secure, compression)

    async def talk(self, secure, compression):
        async def back(ws):
            async for message in ws:
                await ws.send(message)

        options = {"ssl": showing()} if secure else {}
        async with serve(
            back,
            "127.0.0.1",
            0,
            compression=compression,
            subprotocols=["echo.v1"],
            max_size=None,
            **options,
        ) as server:
            port = server.sockets[0].getsockname()[1]
            scheme, root = ("wss", ("--root", PAIR / "cert.pem")) if secure else ("ws", ())
            url = f"{scheme}://localhost:{port}/"
            agreed = await ask(url, "--deflate", "--subprotocol", "echo.v1", *map(str, root))
            self.assertEqual(agreed["deflate"], compression is not None)
            self.assertEqual((agreed["subprotocol"], agreed["http"]), ("echo.v1", "1.1"))
            self.assertEqual(agreed["tls"], secure)
            agreed = await ask(url, "--subprotocol", "echo.v1", *map(str, root))
            self.assertFalse(agreed["deflate"], "it was not offered")


class Back(picows.WSListener):
    """An echo on picows' frames; our client sends whole messages."""

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Picows(unittest.IsolatedAsyncioTestCase):
    async def test_it_is_asked(self):
        server = await picows.ws_create_server(
            lambda request: Back(), "127.0.0.1", 0, max_frame_size=1 << 24
        )
        port = server.sockets[0].getsockname()[1]
        agreed = await ask(f"ws://127.0.0.1:{port}/", "--deflate")
        self.assertEqual((agreed["deflate"], agreed["http"]), (False, "1.1"))
        server.close()


async def application(scope, receive, send):
    """An echo for ASGI."""
    if scope["type"] != "websocket":
        return
    await receive()
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})


@contextlib.asynccontextmanager
async def hypercorn_server(*alpn):
    """Hypercorn with TLS and these protocols; its port."""
    port = free_port()
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(PAIR / "cert.pem"), str(PAIR / "key.pem")
    config.alpn_protocols = list(alpn)
    config.websocket_max_message_size = 1 << 24
    config.graceful_timeout = 1
    config.accesslog = config.errorlog = None
    stop = asyncio.Event()
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait)
    )
    try:
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        yield port
    finally:
        stop.set()
        await serving


class Hypercorn(unittest.IsolatedAsyncioTestCase):
    async def test_http2_is_spoken_where_the_server_chooses_it(self):
        root = ("--root", str(PAIR / "cert.pem"))
        async with hypercorn_server("h2", "http/1.1") as port:
            url = f"wss://localhost:{port}/room?x=1"
            for flags, version in [((), "2"), (("--http", "2"), "2"), (("--http", "1.1"), "1.1")]:
                with self.subTest(flags=flags):
                    agreed = await ask(url, *root, *flags, "--deflate", "--subprotocol", "echo.v1")
                    self.assertEqual((agreed["http"], agreed["tls"]), (version, True))
                    self.assertEqual(agreed["subprotocol"], "echo.v1")

    async def test_http1_is_spoken_where_the_server_has_no_other(self):
        async with hypercorn_server("http/1.1") as port:
            agreed = await ask(f"wss://localhost:{port}/", "--root", str(PAIR / "cert.pem"))
            self.assertEqual(agreed["http"], "1.1")


if __name__ == "__main__":
    unittest.main()
