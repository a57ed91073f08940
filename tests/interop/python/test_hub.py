"""PyPI centrifuge-python, unmodified, in both of its spellings, against a hub that wants tokens."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
import unittest

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler
from support import HUB, Proxy, fresh, until


def token(secret="interop", **claims):
    """A token of HS256, signed here and not by a library that the server uses too."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    message = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    signature = hmac.new(secret.encode(), message, hashlib.sha256).digest()
    return (message + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def each_spelling(test):
    """Runs a test in JSON and in protobuf, with `spell`, which makes data of a value, and `read`, which undoes that."""

    async def run(self):
        for protobuf in (False, True):
            with self.subTest(protobuf=protobuf):
                self.protobuf = protobuf
                await asyncio.wait_for(test(self), 120)

    run.__name__ = test.__name__
    return run


class Events(ClientEventHandler):
    """All that a client is told."""

    def __init__(self):
        self.connected, self.disconnected, self.connecting, self.publications, self.server = [], [], [], [], []

    async def on_connected(self, ctx):
        self.connected.append(ctx.client)

    async def on_disconnected(self, ctx):
        self.disconnected.append(ctx.code)

    async def on_connecting(self, ctx):
        self.connecting.append(ctx.code)

    async def on_publication(self, ctx):
        self.publications.append(ctx.pub.data)

    async def on_subscribed(self, ctx):
        self.server.append(ctx.channel)


class Heard(SubscriptionEventHandler):
    """All that a subscription is told."""

    def __init__(self):
        self.publications, self.subscribed, self.ended = [], [], []

    async def on_publication(self, ctx):
        self.publications.append(ctx.pub.data)

    async def on_subscribed(self, ctx):
        self.subscribed.append(ctx)

    async def on_unsubscribed(self, ctx):
        self.ended.append(ctx.code)


class Hub(unittest.IsolatedAsyncioTestCase):
    def spell(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def read(self, data):
        return json.loads(data) if self.protobuf else data

    def client(self, url=HUB, **options):
        client = Client(
            f"{url}/connection/websocket",
            events=Events(),
            use_protobuf=self.protobuf,
            proxy=None,
            min_reconnect_delay=0.01,
            max_reconnect_delay=0.1,
            **options,
        )
        self.addAsyncCleanup(client.disconnect)
        return client

    async def connect(self, user, url=HUB, **options):
        client = self.client(url, token=options.pop("token", token(sub=user)), **options)
        await client.connect()
        await client.ready(10)
        return client

    async def subscribe(self, client, channel, **options):
        heard = Heard()
        subscription = client.new_subscription(channel, heard, **options)
        await subscription.subscribe()
        await subscription.ready(10)
        return subscription, heard

    @each_spelling
    async def test_tokens_say_who_comes_in(self):
        ann = await self.connect("ann")
        subscription, _ = await self.subscribe(ann, fresh("chat"))
        presence = await subscription.presence()
        self.assertEqual([info.user for info in presence.clients.values()], ["ann"])
        forged = self.client(token=token("another secret", sub="ann"))
        await forged.connect()
        await until("the end of the forger", lambda: forged.events.disconnected)
        self.assertEqual(forged.events.disconnected, [3500])

    @each_spelling
    async def test_a_token_that_runs_out_is_refreshed(self):
        asked = []

        async def get_token():
            asked.append(1)
            return token(sub="ann", exp=int(time.time()) + 2)

        ann = await self.connect("ann", token=await get_token(), get_token=get_token)
        await until("two refreshes", lambda: len(asked) >= 3, 30)
        await ann.rpc("echo", self.spell(1))
        self.assertEqual(len(ann.events.connected), 1)

    @each_spelling
    async def test_a_private_channel_wants_a_token(self):
        ann = await self.connect("ann")
        channel = "$" + fresh("chat")

        async def get_token(wanted):
            return token(sub="ann", channel=wanted)

        subscription, heard = await self.subscribe(ann, channel, get_token=get_token)
        await subscription.publish(self.spell({"n": 1}))
        await until("the publication", lambda: heard.publications)
        self.assertEqual(self.read(heard.publications[0]), {"n": 1})
        closed = ann.new_subscription("$" + fresh("chat"), Heard())
        await closed.subscribe()
        await until("the refusal", lambda: closed.events.ended)
        self.assertEqual(closed.events.ended, [103])

    @each_spelling
    async def test_history_presence_and_refusals(self):
        ann, bob = await self.connect("ann"), await self.connect("bob")
        channel = fresh("chat")
        subscription, _ = await self.subscribe(ann, channel)
        for n in range(3):
            await subscription.publish(self.spell(n))
        history = await subscription.history(limit=10)
        self.assertEqual([self.read(pub.data) for pub in history.publications], [0, 1, 2])
        self.assertEqual([pub.info.user for pub in history.publications], ["ann"] * 3)
        with self.assertRaises(ReplyError) as caught:
            await bob.history(channel, limit=1)
        self.assertEqual(caught.exception.code, 103)

    @each_spelling
    async def test_the_server_subscribes_a_user_to_its_own_channel(self):
        user = fresh("u").replace(":", "")
        ann = await self.connect(user)
        await until("the server's subscription", lambda: ann.events.server)
        self.assertEqual(ann.events.server, [f"personal:#{user}"])

    @each_spelling
    async def test_nothing_is_lost_or_doubled_when_connections_break_at_any_octet(self):
        channel = fresh("chat")
        writing, _ = await self.subscribe(await self.connect("writer"), channel)
        async with Proxy(HUB) as wire:
            away = await self.connect("away", wire.url)
            _, heard = await self.subscribe(away, channel, recoverable=True)
            wire.limit = lambda: 150 + random.randrange(1800)
            wire.cut()
            wire.heal()
            total = 90  # fewer than the history keeps, so that every recovery must succeed
            for n in range(total):
                await writing.publish(self.spell(n))
                if n % 5 == 0:
                    await asyncio.sleep(0.02)
            await until("some cuts", lambda: wire.cuts >= 3, 60)
            wire.limit = None
            await until("all publications", lambda: len(heard.publications) >= total, 60)
            self.assertEqual([self.read(data) for data in heard.publications], list(range(total)))
            again = heard.subscribed[1:]
            self.assertTrue(again and all(ctx.recovered for ctx in again))


if __name__ == "__main__":
    unittest.main()
