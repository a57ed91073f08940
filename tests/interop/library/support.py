"""What these tests share: our peer as a process, programs of others as processes, questions. It tests nothing itself."""

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import socket
import ssl
import tempfile

PEER = os.environ.get("TIDEGATE_PEER", "target/debug/examples/peer")
# The folder with cert.pem and key.pem for localhost.
PAIR = pathlib.Path(os.environ.get("TIDEGATE_PAIR", "target/conformance/certificate"))
# It would tell of each slow callback, and of connections that only looked whether somebody listens.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
DOORS = ("accept", "hyper", "axum")
# Whatever takes longer has failed; nothing here should take more than a few seconds.
PATIENCE = 120


def trusting(*alpn):
    """A TLS client that trusts our certificate and no other."""
    context = ssl.create_default_context(cafile=PAIR / "cert.pem")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def showing(*alpn):
    """A TLS server that shows our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PAIR / "cert.pem", PAIR / "key.pem")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def questions():
    """Messages of each kind, at the edges of the three forms of a length, and long."""
    for length in (0, 1, 125, 126, 127, 65_535, 65_536, 300_000):
        yield ("é tide " * (length // 7 + 1))[:length]
        yield bytes(n * 31 % 256 for n in range(length))


@contextlib.asynccontextmanager
async def echo(door, secure=False):
    """Our echo behind one of the doors; its port. It ends when its standard input does."""
    words = [PEER, "echo", door] + ([str(PAIR)] if secure else [])
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert line.startswith(b"listening on 127.0.0.1:"), line
        yield int(line.rsplit(b":", 1)[1])
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def ask(url, *flags):
    """Our client asks an echo; what was agreed on."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PEER, "ask", *flags, url, stdout=pipe, stderr=pipe)
    said, complaint = await asyncio.wait_for(process.communicate(), PATIENCE)
    if process.returncode:
        raise AssertionError(f"peer ask {' '.join(flags)} {url}: {complaint.decode().strip()}")
    return json.loads(said)


def free_port():
    """A port of 127.0.0.1 that nothing listens on, for programs that cannot choose one and say which."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.asynccontextmanager
async def between(program, config, *words):
    """A proxy by its configuration, a text in which {port} and {folder} stand for themselves; its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = pathlib.Path(folder, "config")
        file.write_text(config.replace("{port}", str(port)).replace("{folder}", folder))
        log = open(pathlib.Path(folder, "log"), "w+b")
        process = await asyncio.create_subprocess_exec(
            program, *words, str(file), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            await listens(process, port, log)
            yield port
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), PATIENCE)
            log.close()


async def listens(process, port, log):
    """Waits until the program takes connections."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while loop.time() < end and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.02)
    log.seek(0)
    raise AssertionError(f"it does not listen on {port}: {log.read().decode()}")
