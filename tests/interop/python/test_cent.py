"""The HTTP API as a backend uses it: PyPI `cent`, unmodified, with a centrifuge client at the other end."""

import asyncio
import os
import unittest

import cent
import centrifuge

from support import WS, fresh, until

KEY = os.environ.get("TIDEGATE_API_KEY", "interop")


def api(url):
    """The API of a server, seen from its WebSocket URL."""
    return url.replace("ws", "http", 1) + "/api"


class Inbox(centrifuge.SubscriptionEventHandler):
    """Remembers what a subscription gets."""

    def __init__(self):
        self.publications = []
        self.gone = []

    async def on_publication(self, ctx):
        self.publications.append(ctx.pub)

    async def on_unsubscribed(self, ctx):
        self.gone.append(ctx.code)


class Ends(centrifuge.ClientEventHandler):
    """Remembers how a connection ended, and what the server subscribed it to."""

    def __init__(self):
        self.codes = []
        self.channels = []
        self.pushed = []

    async def on_disconnected(self, ctx):
        self.codes.append(ctx.code)

    async def on_subscribed(self, ctx):
        self.channels.append(ctx.channel)

    async def on_publication(self, ctx):
        self.pushed.append((ctx.channel, ctx.pub.data))


async def joined(channel):
    """A connected client that is subscribed to a channel."""
    ends, inbox = Ends(), Inbox()
    client = centrifuge.Client(f"{WS}/connection/websocket", events=ends)
    await client.connect()
    subscription = client.new_subscription(channel, inbox)
    await subscription.subscribe()
    await client.ready()
    await subscription.ready()
    return client, ends, inbox


class Cent(unittest.IsolatedAsyncioTestCase):
    """Plain HTTP only: `cent` verifies certificates, and the development one is signed by nobody."""

    async def asyncSetUp(self):
        self.cent = cent.AsyncClient(api(WS), api_key=KEY)
        self.addAsyncCleanup(self.close)
        self.clients = []

    async def close(self):
        await self.cent._session.close()
        for client in self.clients:
            await client.disconnect()

    async def member(self, channel):
        client, ends, inbox = await joined(channel)
        self.clients.append(client)
        return client, ends, inbox

    async def test_a_publication_arrives_and_is_in_the_history(self):
        channel = fresh("chat")
        _, _, inbox = await self.member(channel)
        first = await self.cent.publish(cent.PublishRequest(channel=channel, data={"n": 1}, tags={"k": "v"}))
        await until("a publication", lambda: inbox.publications)
        self.assertEqual(inbox.publications[0].data, {"n": 1})
        self.assertEqual(inbox.publications[0].tags, {"k": "v"})
        self.assertEqual((first.offset, inbox.publications[0].offset), (1, 1))
        history = await self.cent.history(cent.HistoryRequest(channel=channel, limit=10))
        self.assertEqual([p.data for p in history.publications], [{"n": 1}])
        self.assertEqual((history.offset, history.epoch), (first.offset, first.epoch))
        since = cent.StreamPosition(offset=1, epoch=first.epoch)
        rest = await self.cent.history(cent.HistoryRequest(channel=channel, limit=10, since=since))
        self.assertEqual(rest.publications, [])
        await self.cent.history_remove(cent.HistoryRemoveRequest(channel=channel))
        empty = await self.cent.history(cent.HistoryRequest(channel=channel, limit=-1))
        self.assertEqual(empty.publications, [])

    async def test_an_idempotency_key_publishes_once(self):
        channel = fresh("chat")
        request = cent.PublishRequest(channel=channel, data=1, idempotency_key="once")
        first, second = await self.cent.publish(request), await self.cent.publish(request)
        self.assertEqual((first.offset, first.epoch), (second.offset, second.epoch))
        history = await self.cent.history(cent.HistoryRequest(channel=channel, limit=-1))
        self.assertEqual(len(history.publications), 1)

    async def test_a_broadcast_reaches_every_channel(self):
        channels = [fresh("chat") for _ in range(5)]
        result = await self.cent.broadcast(cent.BroadcastRequest(channels=channels + ["no:such"], data="all"))
        self.assertEqual([r.error.code if r.error else r.result.offset for r in result.responses], [1] * 5 + [102])
        for channel in channels:
            history = await self.cent.history(cent.HistoryRequest(channel=channel, limit=1))
            self.assertEqual([p.data for p in history.publications], ["all"])

    async def test_presence_and_channels_show_who_is_there(self):
        channel = fresh("chat")
        await self.member(channel)
        await self.member(channel)
        stats = await self.cent.presence_stats(cent.PresenceStatsRequest(channel=channel))
        self.assertEqual(stats.num_clients, 2)
        presence = await self.cent.presence(cent.PresenceRequest(channel=channel))
        self.assertEqual(len(presence.presence), 2)
        for client, info in presence.presence.items():
            self.assertEqual(client, info.client)
        channels = await self.cent.channels(cent.ChannelsRequest(pattern=channel[:-2] + "*"))
        self.assertEqual(channels.channels[channel].num_clients, 2)
        info = await self.cent.info(cent.InfoRequest())
        self.assertGreaterEqual(info.nodes[0].num_clients, 2)

    async def one(self, channel):
        presence = await self.cent.presence(cent.PresenceRequest(channel=channel))
        return next(iter(presence.presence))

    async def test_the_server_subscribes_unsubscribes_and_disconnects(self):
        channel, other = fresh("chat"), fresh("chat")
        _, ends, inbox = await self.member(channel)
        client = await self.one(channel)
        await self.cent.subscribe(cent.SubscribeRequest(user="", client=client, channel=other))
        await until("a server-side subscription", lambda: ends.channels == [other])
        await self.cent.publish(cent.PublishRequest(channel=other, data="hello"))
        await until("its publication", lambda: ends.pushed == [(other, "hello")])
        await self.cent.unsubscribe(cent.UnsubscribeRequest(user="", client=client, channel=channel))
        await until("the end of a subscription", lambda: inbox.gone == [2000])
        why = cent.Disconnect(code=4500, reason="over")
        await self.cent.disconnect(cent.DisconnectRequest(user="", client=client, disconnect=why))
        await until("the end of the connection", lambda: ends.codes == [4500])

    async def test_refresh_ends_a_connection_that_is_expired(self):
        channel = fresh("chat")
        await self.member(channel)
        client = await self.one(channel)
        await self.cent.refresh(cent.RefreshRequest(user="", client=client, expired=True))

        async def here():
            stats = await self.cent.presence(cent.PresenceRequest(channel=channel))
            return client in stats.presence

        for _ in range(1000):
            if not await here():
                break
            await asyncio.sleep(0.02)
        self.assertFalse(await here())

    async def test_a_batch_is_answered_in_order(self):
        channel = fresh("chat")
        for parallel in (False, True):
            result = await self.cent.batch(cent.BatchRequest(requests=[
                cent.PublishRequest(channel=channel, data=1),
                cent.PresenceStatsRequest(channel=channel),
                cent.ChannelsRequest(pattern=channel),
            ], parallel=parallel))
            kinds = [type(reply).__name__ for reply in result.replies]
            self.assertEqual(kinds, ["PublishResult", "PresenceStatsResult", "ChannelsResult"])

    async def test_errors_are_errors(self):
        with self.assertRaises(cent.CentApiResponseError) as caught:
            await self.cent.publish(cent.PublishRequest(channel="no:such", data=1))
        self.assertEqual(caught.exception.code, 102)
        with self.assertRaises(cent.CentApiResponseError) as caught:
            await self.cent.presence(cent.PresenceRequest(channel="market:BTC-USD"))
        self.assertEqual(caught.exception.code, 108)
        stranger = cent.AsyncClient(api(WS), api_key="wrong")
        try:
            with self.assertRaises(cent.CentUnauthorizedError):
                await stranger.info(cent.InfoRequest())
        finally:
            await stranger._session.close()


class SyncCent(unittest.TestCase):
    """The client without asyncio speaks another HTTP library."""

    def test_it_publishes_and_reads(self):
        client = cent.Client(api(WS), api_key=KEY)
        channel = fresh("chat")
        position = client.publish(cent.PublishRequest(channel=channel, data={"from": "sync"}))
        history = client.history(cent.HistoryRequest(channel=channel, limit=1))
        self.assertEqual((position.offset, history.publications[0].data), (1, {"from": "sync"}))


if __name__ == "__main__":
    unittest.main()
