//! tokio-centrifuge, unmodified, in JSON and in protobuf, with 1 and 4 workers.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate::{Running, Server};
use tidegate_hub::{Disconnect, HubConfig, HubStats, Shard, ShardMail, Target, TokenKeys};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_centrifuge::client::Client;
use tokio_centrifuge::config::Config;
use tokio_centrifuge::subscription::Subscription;

/// Longest wait for anything: a deadline, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Spelling {
    Json,
    Protobuf,
}

/// A hub that wants tokens, on the real engine.
struct Hub {
    server: Running<ShardMail>,
    handle: tidegate_hub::Hub,
    spelling: Spelling,
}

impl Hub {
    fn start(workers: usize, spelling: Spelling) -> Hub {
        let config = Arc::new(HubConfig {
            anonymous: false,
            dev: false,
            tokens: TokenKeys::new().with_secret(b"secret").ok(),
            ..HubConfig::dev()
        });
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let own = Arc::clone(&config);
        let server = Server::builder()
            .listen(loopback)
            .workers(workers)
            .start(move |worker| Shard::new(Arc::clone(&own), worker, workers))
            .expect("a free port");
        let mailer = server.mailer();
        let post = move |worker, mail| mailer.post(worker, mail);
        let handle = tidegate_hub::Hub::new(config, workers, post);
        Hub {
            server,
            handle,
            spelling,
        }
    }

    fn client(&self, secret: &str, user: &str) -> Client {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = encode(&Header::default(), &json!({ "sub": user }), &key).expect("a token");
        let addr = self.server.local_addr();
        let config = Config::new().with_token(token);
        match self.spelling {
            Spelling::Json => Client::new(
                &format!("ws://{addr}/connection/websocket"),
                config.use_json(),
            ),
            Spelling::Protobuf => Client::new(
                &format!("ws://{addr}/connection/websocket?format=protobuf"),
                config.use_protobuf(),
            ),
        }
    }

    async fn connect(&self, user: &str) -> Client {
        let client = self.client("secret", user);
        let connected = timeout(PATIENCE, client.connect()).await;
        connected.expect("in time").expect("connected");
        client
    }

    async fn stats(&self) -> HubStats {
        let (answer, stats) = tokio::sync::oneshot::channel();
        self.handle.stats(move |stats| {
            let _ = answer.send(stats);
        });
        let stats = timeout(PATIENCE, stats).await.expect("in time");
        stats.expect("an answer").expect("the counts")
    }

    fn stop(self) {
        self.server.drain(Duration::ZERO);
        self.server.join().expect("no worker died");
    }
}

/// Subscribes; what is heard comes out of the channel.
async fn subscribe(client: &Client, channel: &str) -> (Subscription, UnboundedReceiver<Vec<u8>>) {
    let subscription = client.new_subscription(channel);
    let (heard, hears) = unbounded_channel();
    subscription.on_publication(move |publication| {
        let _ = heard.send(publication.data);
    });
    let subscribed = timeout(PATIENCE, subscription.subscribe()).await;
    subscribed.expect("in time").expect("subscribed");
    (subscription, hears)
}

async fn next(hears: &mut UnboundedReceiver<Vec<u8>>) -> serde_json::Value {
    let data = timeout(PATIENCE, hears.recv()).await.expect("in time");
    serde_json::from_slice(&data.expect("a publication")).expect("JSON")
}

async fn what_one_publishes_all_hear(workers: usize, spelling: Spelling) {
    let hub = Hub::start(workers, spelling);
    let (ann, bob) = (hub.connect("ann").await, hub.connect("bob").await);
    let (of_ann, mut ann_hears) = subscribe(&ann, "chat:tea").await;
    let (_of_bob, mut bob_hears) = subscribe(&bob, "chat:tea").await;
    for n in 0..20 {
        let data = json!({ "n": n, "text": "ü" }).to_string().into_bytes();
        let published = timeout(PATIENCE, of_ann.publish(data)).await;
        published.expect("in time").expect("published");
    }
    for n in 0..20 {
        for hears in [&mut ann_hears, &mut bob_hears] {
            assert_eq!(next(hears).await, json!({ "n": n, "text": "ü" }));
        }
    }
    let echo = timeout(PATIENCE, bob.rpc("echo", b"[1,2]".to_vec())).await;
    assert_eq!(echo.expect("in time").expect("a result"), b"[1,2]");
    let refused = timeout(PATIENCE, bob.publish("market:x", b"1".to_vec())).await;
    let refused = refused
        .expect("in time")
        .expect_err("feeds are not for clients");
    assert!(format!("{refused:?}").contains("103"), "{refused:?}");
    hub.stop();
}

/// This client does not tell its user with which code it was closed, so the hub is asked.
async fn a_forged_token_opens_nothing(workers: usize, spelling: Spelling) {
    let hub = Hub::start(workers, spelling);
    let client = hub.client("another secret", "ann");
    let connecting = tokio::spawn(async move { client.connect().await });
    let end = tokio::time::Instant::now() + PATIENCE;
    let total = loop {
        let total = hub.stats().await.total();
        if total.disconnects.contains_key(&3500) || tokio::time::Instant::now() > end {
            break total;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(total.disconnects[&3500] > 0);
    assert_eq!(total.connects, 0);
    connecting.abort();
    hub.stop();
}

/// Closed with 3011 it comes back by itself and hears on; unsubscribed with 2000 it hears no more, and says so.
async fn the_codes_are_understood(workers: usize, spelling: Spelling) {
    let hub = Hub::start(workers, spelling);
    let ann = hub.connect("ann").await;
    let bob = hub.client("secret", "bob");
    let (connected, mut connects) = unbounded_channel();
    bob.on_connected(move |_| {
        let _ = connected.send(());
    });
    let first = timeout(PATIENCE, bob.connect()).await;
    first.expect("in time").expect("connected");
    let (of_bob, mut bob_hears) = subscribe(&bob, "chat:tea").await;
    let (subscribed, mut subscribes) = unbounded_channel();
    of_bob.on_subscribed(move |_| {
        let _ = subscribed.send(());
    });
    let (ended, mut ends) = unbounded_channel();
    of_bob.on_unsubscribed(move |_| {
        let _ = ended.send(());
    });
    timeout(PATIENCE, connects.recv()).await.expect("in time");
    hub.handle
        .disconnect(Target::user("bob"), Disconnect::RECONNECT, |_| ());
    for event in [&mut connects, &mut subscribes] {
        let again = timeout(PATIENCE, event.recv()).await;
        again.expect("in time").expect("once more");
    }
    let published = timeout(PATIENCE, ann.publish("chat:tea", b"[1]".to_vec())).await;
    published.expect("in time").expect("published");
    assert_eq!(next(&mut bob_hears).await, json!([1]));
    hub.handle
        .unsubscribe(Target::user("bob"), "chat:tea", 2000, |_| ());
    let end = timeout(PATIENCE, ends.recv()).await;
    end.expect("in time").expect("an event");
    assert_eq!(hub.stats().await.total().subscriptions, 0);
    hub.stop();
}

macro_rules! everywhere {
    ($($name:ident),*) => {$(
        mod $name {
            use super::Spelling::{Json, Protobuf};

            #[tokio::test(flavor = "multi_thread")]
            async fn in_json_on_1_worker() {
                super::$name(1, Json).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn in_json_on_4_workers() {
                super::$name(4, Json).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn in_protobuf_on_1_worker() {
                super::$name(1, Protobuf).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn in_protobuf_on_4_workers() {
                super::$name(4, Protobuf).await;
            }
        }
    )*};
}

everywhere!(
    what_one_publishes_all_hear,
    a_forged_token_opens_nothing,
    the_codes_are_understood
);
