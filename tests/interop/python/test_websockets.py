"""PyPI websockets, unmodified, as the client of the echo, asynchronous and threaded."""

import asyncio
import os
import unittest

import websockets
from support import each_server, servers
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect as connect_sync


class Echo(unittest.IsolatedAsyncioTestCase):
    @each_server
    async def test_messages_of_every_length_form_come_back_whole(self, url, context):
        async with connect(f"{url}/echo", ssl=context, max_size=None) as peer:
            for length in [0, 1, 125, 126, 127, 65535, 65536, 1_000_000]:
                data = os.urandom(length)
                await peer.send(data)
                self.assertEqual(await peer.recv(), data)

    @each_server
    async def test_text_stays_text(self, url, context):
        async with connect(f"{url}/echo", ssl=context) as peer:
            for text in ["", "plain", "Fähre, паром, 渡し船", "🌊" * 1000]:
                await peer.send(text)
                self.assertEqual(await peer.recv(), text)

    @each_server
    async def test_a_message_in_fragments_comes_back_as_one(self, url, context):
        async with connect(f"{url}/echo", ssl=context) as peer:
            await peer.send(["one ", "", "two ", "three"])
            self.assertEqual(await peer.recv(), "one two three")

    @each_server
    async def test_many_messages_sent_at_once_come_back_in_order(self, url, context):
        async with connect(f"{url}/echo", ssl=context) as peer:
            async def send():
                for n in range(2000):
                    await peer.send(str(n))

            sending = asyncio.create_task(send())
            for n in range(2000):
                self.assertEqual(await peer.recv(), str(n))
            await sending

    @each_server
    async def test_pings_are_answered(self, url, context):
        async with connect(f"{url}/echo", ssl=context) as peer:
            for payload in [b"", b"a", b"b" * 125]:
                pong = await peer.ping(payload)
                await peer.send("behind")
                self.assertEqual(await peer.recv(), "behind")
                self.assertTrue(pong.done(), "the pong came in its turn")

    @each_server
    async def test_a_close_is_answered_with_its_own_code(self, url, context):
        for code, reason in [(1000, ""), (1001, "leaving"), (3000, "ours"), (4999, "ü" * 50)]:
            peer = await connect(f"{url}/echo", ssl=context)
            await peer.close(code, reason)
            self.assertEqual(peer.close_code, code)
            self.assertTrue(peer.protocol.close_rcvd_then_sent is False and peer.protocol.close_rcvd.code == code)

    @each_server
    async def test_a_close_begun_between_fragments_is_a_clean_one(self, url, context):
        peer = await connect(f"{url}/echo", ssl=context)
        peer.protocol.send_text(b"unfinished", fin=False)
        peer.send_data()
        await peer.close(1000)
        self.assertEqual(peer.protocol.close_rcvd.code, 1000)

    @each_server
    async def test_text_that_is_no_utf_8_is_answered_with_1007_before_the_message_ends(self, url, context):
        peer = await connect(f"{url}/echo", ssl=context)
        peer.protocol.send_text(b"\xce\xba\xff", fin=False)
        peer.send_data()
        with self.assertRaises(websockets.ConnectionClosedError) as caught:
            await peer.recv()
        self.assertEqual(caught.exception.rcvd.code, 1007)

    @each_server
    async def test_compressed_messages_come_back_whole_in_every_mode_and_with_every_parameter(self, url, context):
        offers = [
            {},
            {"server_no_context_takeover": True},
            {"client_no_context_takeover": True},
            {"server_max_window_bits": 9, "client_max_window_bits": 9},
            {"server_max_window_bits": 12, "client_max_window_bits": 12},
        ]
        text = "the same words again and again, " * 3000
        for mode in ["dedicated", "shared"]:
            for offer in offers:
                extension = ClientPerMessageDeflateFactory(**{"client_max_window_bits": True} | offer)
                address = f"{url}/echo?deflate={mode}"
                async with connect(address, ssl=context, compression=None, extensions=[extension]) as peer:
                    with self.subTest(mode=mode, offer=offer, agreed=peer.protocol.extensions):
                        self.assertEqual(len(peer.protocol.extensions), 1)
                        for n in range(60):
                            sent = text[n : n + n * 997 % 70_000]
                            await peer.send(sent)
                            self.assertEqual(await peer.recv(), sent)
                        await peer.send(["in ", "pieces", "", "!" * 5000])
                        self.assertEqual(await peer.recv(), "in pieces" + "!" * 5000)
                        noise = os.urandom(100_000)
                        await peer.send(noise)
                        self.assertEqual(await peer.recv(), noise)

    @each_server
    async def test_an_origin_elsewhere_is_refused_and_compression_declined_where_it_is_off(self, url, context):
        async with connect(f"{url}/echo?deflate=off", ssl=context, compression="deflate") as peer:
            self.assertEqual(peer.protocol.extensions, [])
        with self.assertRaises(websockets.InvalidStatus) as caught:
            await connect(f"{url}/echo", ssl=context, origin="https://elsewhere.example")
        self.assertEqual(caught.exception.response.status_code, 403)

    @each_server
    async def test_the_hub_agrees_to_its_subprotocol(self, url, context):
        async with connect(f"{url}/connection/websocket", ssl=context, subprotocols=["centrifuge-json"]) as peer:
            self.assertEqual(peer.subprotocol, "centrifuge-json")

    @each_server
    async def test_a_hundred_clients_at_once_are_served(self, url, context):
        async def one(n):
            async with connect(f"{url}/echo", ssl=context) as peer:
                for turn in range(10):
                    await peer.send(f"{n}:{turn}")
                    self.assertEqual(await peer.recv(), f"{n}:{turn}")

        await asyncio.gather(*(one(n) for n in range(100)))


class Threaded(unittest.TestCase):
    def test_the_threaded_client_is_served_too(self):
        for scheme, url, context in servers():
            with self.subTest(scheme=scheme), connect_sync(f"{url}/echo", ssl=context) as peer:
                for n in range(200):
                    peer.send(str(n))
                    self.assertEqual(peer.recv(timeout=60), str(n))
