"""Programs that others put between client and server: nginx and haproxy before our server, tinyproxy before our client."""

import asyncio
import os
import unittest

from websockets.asyncio.client import connect

from support import DOORS, PAIR, PATIENCE, ask, between, echo, questions

NGINX = """
worker_processes 1;
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path {folder}/a;
    proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d;
    scgi_temp_path {folder}/e;
    server {
        listen 127.0.0.1:{port};
        location / {
            proxy_pass http://127.0.0.1:{server};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
        }
    }
}
"""

HAPROXY = """
global
    maxconn 64
defaults
    mode http
    timeout connect 30s
    timeout client 60s
    timeout server 60s
    timeout tunnel 120s
frontend door
    bind 127.0.0.1:{port} {tls}
    default_backend tide
backend tide
    server one 127.0.0.1:{server}
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 120
MaxClients 16
LogLevel Warning
PidFile "{folder}/pid"
"""


class ReverseProxies(unittest.IsolatedAsyncioTestCase):
    async def test_nginx_passes_everything_on_to_each_door(self):
        for door in DOORS:
            async with echo(door) as server:
                config = NGINX.replace("{server}", str(server))
                async with between(os.environ["TIDEGATE_NGINX"], config, "-c") as port:
                    with self.subTest(door=door):
                        await self.both(port)

    async def test_haproxy_passes_everything_on_to_each_door(self):
        for door in DOORS:
            async with echo(door) as server:
                config = HAPROXY.replace("{server}", str(server)).replace("{tls}", "")
                async with between(os.environ["TIDEGATE_HAPROXY"], config, "-db", "-f") as port:
                    with self.subTest(door=door):
                        await self.both(port)

    async def test_haproxy_takes_http2_from_our_client_and_speaks_http1_to_our_server(self):
        async with echo("hyper") as server:
            both = PAIR / "both.pem"
            both.write_bytes((PAIR / "cert.pem").read_bytes() + (PAIR / "key.pem").read_bytes())
            tls = f"ssl crt {both} alpn h2,http/1.1"
            config = HAPROXY.replace("{server}", str(server)).replace("{tls}", tls)
            async with between(os.environ["TIDEGATE_HAPROXY"], config, "-db", "-f") as port:
                root = ("--root", str(PAIR / "cert.pem"))
                for flags, version in [((), "2"), (("--http", "1.1"), "1.1")]:
                    agreed = await ask(f"wss://localhost:{port}/", *root, *flags, "--deflate")
                    self.assertEqual((agreed["http"], agreed["deflate"]), (version, True))

    async def both(self, port):
        """Our client and another's, through the proxy at `port`."""
        url = f"ws://localhost:{port}/"
        agreed = await ask(url, "--deflate", "--subprotocol", "echo.v2")
        self.assertEqual((agreed["deflate"], agreed["subprotocol"]), (True, "echo.v2"))
        async with connect(url, max_size=None, proxy=None) as ws:
            for question in questions():
                await ws.send(question)
                self.assertEqual(await asyncio.wait_for(ws.recv(), PATIENCE), question)
        self.assertEqual(ws.close_code, 1000)


class ForwardProxy(unittest.IsolatedAsyncioTestCase):
    async def test_tinyproxy_is_gone_through_by_ws_and_wss(self):
        async with between(os.environ["TIDEGATE_TINYPROXY"], TINYPROXY, "-d", "-c") as proxy:
            for secure in (False, True):
                with self.subTest(secure=secure):
                    async with echo("accept", secure) as port:
                        scheme = "wss" if secure else "ws"
                        flags = ("--root", str(PAIR / "cert.pem")) if secure else ()
                        url = f"{scheme}://localhost:{port}/"
                        agreed = await ask(url, "--proxy", f"http://127.0.0.1:{proxy}", *flags)
                        self.assertEqual((agreed["proxy"], agreed["tls"]), (True, secure))


if __name__ == "__main__":
    unittest.main()
