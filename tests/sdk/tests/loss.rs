//! A real loss on the real engine: a worker's mailbox is full, and publications do not reach its subscribers. They are
//! told with 2500, recover, and have everything in the end, once and in order.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate::{ClientStream, Server, WebSocket};
use tidegate_hub::{ClientSummary, Hub, HubConfig, Namespace, Shard, TopicName};
use tokio::time::timeout;

/// Longest wait for anything: a deadline, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most mail that may wait for a worker; a burst is longer.
const MAILBOX: usize = 16;
const BURST: u64 = 500;

/// A client that reads and writes JSON by hand.
struct Client {
    socket: WebSocket<ClientStream>,
    heard: VecDeque<Value>,
    id: String,
}

impl Client {
    async fn connect(address: SocketAddr) -> Client {
        let url = format!("ws://{address}/connection/websocket");
        let socket = tidegate::connect(&url).await.expect("a connection");
        let (heard, id) = (VecDeque::new(), String::new());
        let mut client = Client { socket, heard, id };
        client.say(&json!({ "id": 1, "connect": {} })).await;
        let reply = client.until(|value| value["id"] == 1).await;
        client.id = reply["connect"]["client"]
            .as_str()
            .expect("an id")
            .to_owned();
        client
    }

    async fn say(&mut self, command: &Value) {
        self.say_text(&command.to_string()).await;
    }

    async fn say_text(&mut self, text: &str) {
        let sent = self.socket.send(text.to_owned());
        timeout(PATIENCE, sent)
            .await
            .expect("in time")
            .expect("sent");
    }

    /// What comes next.
    async fn next(&mut self) -> Value {
        while self.heard.is_empty() {
            let message = timeout(PATIENCE, self.socket.recv())
                .await
                .expect("in time");
            let message = message.expect("a message");
            let lines = message.as_text().expect("text").lines();
            self.heard
                .extend(lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
        }
        self.heard.pop_front().expect("something was heard")
    }

    /// The next that fits; what comes before it is dropped.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.next().await;
            if fits(&value) {
                return value;
            }
        }
    }

    async fn subscribe(&mut self, id: u64, channel: &str, since: Option<(u64, &Value)>) -> Value {
        let mut subscribe = json!({ "channel": channel });
        if let Some((offset, epoch)) = since {
            subscribe["recover"] = json!(true);
            subscribe["offset"] = json!(offset);
            subscribe["epoch"] = epoch.clone();
        }
        self.say(&json!({ "id": id, "subscribe": subscribe })).await;
        self.until(|value| value["id"] == id).await["subscribe"].take()
    }
}

/// On which worker each client lives.
async fn workers(hub: &Hub) -> Vec<ClientSummary> {
    let (answer, clients) = tokio::sync::oneshot::channel();
    hub.clients(None, false, 100, move |clients| {
        let _ = answer.send(clients);
    });
    let clients = timeout(PATIENCE, clients).await.expect("in time");
    clients.expect("an answer").expect("the clients")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_publications_is_told_and_recovers_them() {
    let mut config = HubConfig::dev();
    let long = Namespace {
        history_size: 2 * BURST as usize,
        ..Namespace::open()
    };
    config.namespaces.set("long", long);
    let config = Arc::new(config);
    let own = Arc::clone(&config);
    let server = Server::builder()
        .listen("127.0.0.1:0".parse().expect("an address"))
        .workers(2)
        .mailbox(MAILBOX)
        .start(move |worker| Shard::new(Arc::clone(&own), worker, 2))
        .expect("a free port");
    let mailer = server.mailer();
    let hub = Hub::new(config, 2, move |worker, mail| mailer.post(worker, mail));

    // A writer, and a reader whose worker is not the writer's. Who gets which connection is the system's choice.
    let mut writer = Client::connect(server.local_addr()).await;
    let (mut reader, home) = loop {
        let other = Client::connect(server.local_addr()).await;
        let clients = workers(&hub).await;
        let of = |id: &str| {
            clients
                .iter()
                .find(|one| one.client == id)
                .expect("it is there")
                .worker
        };
        if of(&other.id) != of(&writer.id) {
            break (other, of(&writer.id));
        }
    };
    // The channel's home is the writer's worker, so that the loss is between the home and the reader.
    let channel = (0..).map(|n| format!("long:{n}")).find(|name| {
        let topic = TopicName::parse(name).expect("a name");
        topic.home(2).0 == home
    });
    let channel = channel.expect("one of them");
    let position = reader.subscribe(2, &channel, None).await;

    // One message with more publications than the other worker's mailbox has room for.
    let publish = |n: u64| json!({ "id": 1_000 + n, "publish": { "channel": channel, "data": n } });
    let burst: Vec<String> = (1..=BURST).map(|n| publish(n).to_string()).collect();
    writer.say_text(&burst.join("\n")).await;
    let last = 1_000 + BURST;
    assert_eq!(
        writer.until(|value| value["id"] == last).await["publish"],
        json!({})
    );

    // Nothing but an order without holes until the hub says that there is one.
    let mut got = Vec::new();
    let end = loop {
        let push = reader.next().await["push"].take();
        if push["pub"].is_object() {
            got.push(push["pub"].clone());
        } else if push["unsubscribe"].is_object() {
            break push["unsubscribe"].clone();
        }
    };
    assert_eq!(end["code"], 2500, "{end}");
    assert!(got.len() < BURST as usize, "nothing was lost");
    let seen = got
        .last()
        .map_or(0, |one| one["offset"].as_u64().expect("an offset"));
    let again = reader
        .subscribe(3, &channel, Some((seen, &position["epoch"])))
        .await;
    assert_eq!(again["recovered"], true, "{again}");
    got.extend(
        again["publications"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    );
    let data: Vec<u64> = got
        .iter()
        .map(|one| one["data"].as_u64().expect("a number"))
        .collect();
    assert_eq!(data, (1..=BURST).collect::<Vec<_>>());

    // And it is a member again.
    writer.say(&publish(BURST + 1)).await;
    let live = reader.until(|value| value["push"]["pub"].is_object()).await;
    assert_eq!(live["push"]["pub"]["data"], BURST + 1);
    server.drain(Duration::ZERO);
    server.join().expect("no worker died");
}
