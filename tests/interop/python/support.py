"""What the Python tests share: where the servers are, waiting, a connection that can be cut. It tests nothing itself."""

import asyncio
import os
import secrets
import ssl
import urllib.parse

WS = os.environ.get("TIDEGATE_WS", "ws://127.0.0.1:8000")
WSS = os.environ.get("TIDEGATE_WSS")
# The server with tests/interop/hub.toml, which wants tokens.
HUB = os.environ.get("TIDEGATE_HUB", "ws://127.0.0.1:8010")
# The process of the plain server, where its memory is looked at.
PID = os.environ.get("TIDEGATE_PID")
FULL = bool(os.environ.get("TIDEGATE_FULL"))


def servers():
    """(scheme, url, TLS context) of each server: `cargo xtask interop` starts a plain one and one with TLS."""
    yield "ws", WS, None
    if WSS:
        # The development certificate is signed by nobody.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        yield "wss", WSS, context


def each_server(test):
    """Runs a test once for each server, with `url` and `context`."""

    async def run(self):
        for scheme, url, context in servers():
            with self.subTest(scheme=scheme):
                await asyncio.wait_for(test(self, url, context), 60)

    run.__name__ = test.__name__
    return run


def fresh(namespace):
    """A channel that no other test uses."""
    return f"{namespace}:{secrets.token_hex(6)}"


async def until(what, condition, seconds=10, step=0.01):
    """Waits until a condition holds; says what was awaited when it does not come."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        if loop.time() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        await asyncio.sleep(step)


class Proxy:
    """A TCP proxy in front of a server: `cut` ends what is open and refuses what comes, until `heal`."""

    def __init__(self, url, limit=None):
        """With a `limit`, each connection breaks when the server has sent as many octets as it says."""
        self.target = urllib.parse.urlsplit(url)
        self.open = set()
        self.whole = True
        self.limit, self.cuts = limit, 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"{self.target.scheme}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        self.cut()
        self.server.close()

    async def serve(self, reader, writer):
        if not self.whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        both = {writer, far_writer}
        self.open |= both
        limit = self.limit() if self.limit else None
        await asyncio.gather(self.copy(reader, far_writer), self.copy(far_reader, writer, limit))
        self.open -= both

    async def copy(self, reader, writer, limit=None):
        try:
            while data := await reader.read(65536):
                if limit is not None and self.limit and len(data) > limit:
                    writer.write(data[:limit])
                    self.cuts += 1
                    break
                limit = limit and limit - len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        self.whole = False
        for writer in list(self.open):
            writer.transport.abort()

    def heal(self):
        self.whole = True
