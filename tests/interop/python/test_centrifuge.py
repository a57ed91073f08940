"""PyPI centrifuge-python, unmodified, as the client of the hub."""

import asyncio
import time
import unittest

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler
from support import Proxy, each_server, fresh, until


class Heard(SubscriptionEventHandler):
    """All that a subscription is told."""

    def __init__(self):
        self.publications, self.joined, self.left, self.subscribed = [], [], [], []

    async def on_publication(self, ctx):
        self.publications.append(ctx.pub.data)

    async def on_join(self, ctx):
        self.joined.append(ctx.info.client)

    async def on_leave(self, ctx):
        self.left.append(ctx.info.client)

    async def on_subscribed(self, ctx):
        self.subscribed.append(ctx)


class Connected(ClientEventHandler):
    """How often a client connected, and as whom."""

    def __init__(self):
        self.ids, self.connecting = [], 0

    async def on_connected(self, ctx):
        self.ids.append(ctx.client)

    async def on_connecting(self, ctx):
        self.connecting += 1


class Hub(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.clients = []

    async def connect(self, url, context, **options):
        events = Connected()
        client = Client(
            f"{url}/connection/websocket", events=events, ssl_context=context, proxy=None, max_reconnect_delay=0.2, **options
        )
        self.addAsyncCleanup(client.disconnect)
        await client.connect()
        await client.ready(5)
        return client

    async def subscribe(self, client, channel, **options):
        heard = Heard()
        subscription = client.new_subscription(channel, heard, **options)
        await subscription.subscribe()
        await subscription.ready(5)
        return subscription, heard

    @each_server
    async def test_what_one_publishes_all_hear(self, url, context):
        channel = fresh("chat")
        members = [await self.subscribe(await self.connect(url, context), channel) for _ in range(6)]
        for n, (subscription, _) in enumerate(members):
            await subscription.publish({"from": n})
        for _, heard in members:
            await until("six publications", lambda heard=heard: len(heard.publications) == 6)
            self.assertEqual(heard.publications, [{"from": n} for n in range(6)])

    @each_server
    async def test_history_is_kept_and_read_from_a_position(self, url, context):
        subscription, _ = await self.subscribe(await self.connect(url, context), fresh("chat"))
        for n in range(1, 6):
            await subscription.publish(n)
        history = await subscription.history(limit=100)
        self.assertEqual([pub.data for pub in history.publications], [1, 2, 3, 4, 5])
        self.assertEqual([pub.offset for pub in history.publications], [1, 2, 3, 4, 5])
        self.assertEqual(history.offset, 5)
        back = await subscription.history(limit=2, reverse=True)
        self.assertEqual([pub.data for pub in back.publications], [5, 4])

    @each_server
    async def test_presence_join_and_leave(self, url, context):
        channel = fresh("chat")
        ada, bob = [await self.connect(url, context) for _ in range(2)]
        subscription, heard = await self.subscribe(ada, channel, join_leave=True)
        await self.subscribe(bob, channel)
        bob_id, ada_id = bob.events.ids[0], ada.events.ids[0]
        await until("Bob to join", lambda: bob_id in heard.joined)
        presence = await subscription.presence()
        self.assertEqual(set(presence.clients), {ada_id, bob_id})
        self.assertEqual((await subscription.presence_stats()).num_clients, 2)
        await bob.disconnect()
        await until("Bob to leave", lambda: bob_id in heard.left)
        self.assertEqual(set((await subscription.presence()).clients), {ada_id})

    @each_server
    async def test_rpc_time_and_echo_and_nothing_else(self, url, context):
        client = await self.connect(url, context)
        self.assertEqual((await client.rpc("echo", {"a": ["ü"]})).data, {"a": ["ü"]})
        data = (await client.rpc("time", {})).data
        numbers = [value for value in ([data] if not isinstance(data, dict) else data.values()) if isinstance(value, (int, float))]
        self.assertTrue(any(abs(n * unit - time.time()) < 60 for n in numbers for unit in (1, 1e-3)), data)
        with self.assertRaises(ReplyError) as caught:
            await client.rpc("launch", {})
        self.assertEqual(caught.exception.code, 104)

    @each_server
    async def test_publishing_to_a_feed_is_refused(self, url, context):
        subscription, _ = await self.subscribe(await self.connect(url, context), "market:BTC-USD")
        with self.assertRaises(ReplyError) as caught:
            await subscription.publish({"price": 1})
        self.assertEqual(caught.exception.code, 103)

    @each_server
    async def test_what_was_missed_while_cut_is_recovered(self, url, context):
        channel = fresh("chat")
        async with Proxy(url) as wire:
            away, writer = await self.connect(wire.url, context), await self.connect(url, context)
            _, heard = await self.subscribe(away, channel, recoverable=True)
            writing, _ = await self.subscribe(writer, channel)
            await writing.publish("before")
            await until("the first", lambda: heard.publications == ["before"])
            wire.cut()
            await until("the loss to be noticed", lambda: away.events.connecting >= 2)
            for n in range(20):
                await writing.publish(n)
            wire.heal()
            await until("to be subscribed again", lambda: len(heard.subscribed) == 2)
            again = heard.subscribed[1]
            self.assertTrue(again.was_recovering)
            self.assertTrue(again.recovered)
            await writing.publish("after")
            await until("all of them", lambda: len(heard.publications) >= 22)
            self.assertEqual(heard.publications, ["before", *range(20), "after"])
            await away.disconnect()

    @each_server
    async def test_a_client_may_come_and_go(self, url, context):
        channel = fresh("chat")
        client = await self.connect(url, context)
        subscription, heard = await self.subscribe(client, channel)
        for turn in range(5):
            await subscription.publish(turn)
            await until(f"publication {turn}", lambda: len(heard.publications) == turn + 1)
            await client.disconnect()
            await client.connect()
            await asyncio.wait_for(subscription.ready(5), 5)
        self.assertEqual(len(set(client.events.ids)), 6)
