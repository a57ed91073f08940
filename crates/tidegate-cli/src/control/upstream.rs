//! Feeds from elsewhere: connects to WebSocket servers that others run, and publishes what they send. It keeps order,
//! invents nothing, and says in the publication itself when something may be missing before it.

use crate::connect::redact;
use std::time::Duration;
use tidegate::{Client, ClientStream, Closed, Message, Reconnect, WebSocket};
use tidegate_hub::{Hub, HubError, Outgoing, RawJson, Tags, TopicName};
use tidegate_proto::{Config, Deflate};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{info, warn};

/// What `--feed` and `--feed-hello` say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Feed {
    /// The channel to publish in.
    pub(crate) channel: String,
    /// Whom to listen to. It may hold secrets.
    pub(crate) url: String,
    /// A text to send on each new connection, say a subscription.
    pub(crate) hello: Option<String>,
}

impl Feed {
    /// Reads `CHANNEL=URL` flags, and the `CHANNEL=TEXT` flags for what to say first.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub(crate) fn read(feeds: &[String], hellos: &[String]) -> Result<Vec<Feed>, String> {
        let mut read: Vec<Feed> = Vec::new();
        for text in feeds {
            let feed = Feed::parse(text)?;
            if read.iter().any(|other| other.channel == feed.channel) {
                return Err(format!(
                    "--feed {}: the channel has a feed already",
                    feed.channel
                ));
            }
            read.push(feed);
        }
        for text in hellos {
            let (channel, hello) = text
                .split_once('=')
                .ok_or("--feed-hello wants CHANNEL=TEXT, with the CHANNEL of a --feed")?;
            let feed = read
                .iter_mut()
                .find(|feed| feed.channel == channel)
                .ok_or_else(|| {
                    format!("--feed-hello {channel}: there is no --feed of that name")
                })?;
            feed.hello = Some(hello.to_owned());
        }
        Ok(read)
    }

    fn parse(text: &str) -> Result<Feed, String> {
        let (channel, url) = text
            .split_once('=')
            .ok_or("--feed wants CHANNEL=URL, as in market:btc=wss://feed.example/btc")?;
        TopicName::parse(channel).map_err(|error| format!("--feed {channel}: {error}"))?;
        let is_websocket = ["ws://", "wss://"].iter().any(|scheme| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        match is_websocket {
            true => Ok(Feed {
                channel: channel.to_owned(),
                url: url.to_owned(),
                hello: None,
            }),
            false => Err(format!(
                "--feed {channel}: the URL must begin with ws:// or wss://"
            )),
        }
    }
}

/// Listens and publishes until it is aborted.
pub(super) async fn run(feed: Feed, hub: Hub) {
    let shown = redact::target(&feed.url);
    let mut connections = Reconnect::new(client(), feed.url.clone());
    if let Some(hello) = feed.hello.clone() {
        connections = connections.resume(move |ws, _| greet(ws, hello.clone()));
    }
    let mut lives = 0u64;
    loop {
        let mut ws = match connections.next().await {
            Ok(ws) => ws,
            Err(error) => {
                // It would fail again at once; but who runs the other end may mend it.
                warn!(channel = feed.channel, url = shown, %error, "a feed cannot be reached; trying again in a minute");
                sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        info!(channel = feed.channel, url = shown, "a feed is connected");
        lives += 1;
        let closed = relay(&mut ws, &feed.channel, &hub, lives).await;
        warn!(channel = feed.channel, url = shown, %closed, "a feed has ended; connecting again");
    }
}

fn client() -> Client {
    Client::new().config(Config {
        deflate: Deflate::Shared.into(),
        ..Config::default()
    })
}

async fn greet(
    mut ws: WebSocket<ClientStream>,
    hello: String,
) -> Result<WebSocket<ClientStream>, Closed> {
    ws.send(hello).await?;
    Ok(ws)
}

/// Publishes what comes on one connection, one message after the other.
async fn relay(ws: &mut WebSocket<ClientStream>, channel: &str, hub: &Hub, life: u64) -> Closed {
    let mut tags = Tags::new();
    if life > 1 {
        // Between the connections messages may have been missed. Who subscribes can see that.
        tags.insert("feed".to_owned(), format!("reconnected-{}", life - 1));
    }
    loop {
        let message = match ws.recv().await {
            Ok(message) => message,
            Err(closed) => return closed,
        };
        let outgoing = Outgoing {
            tags: std::mem::take(&mut tags),
            ..Outgoing::from(json(&message))
        };
        if let Err(error) = publish(hub, channel, outgoing).await {
            warn!(channel, bytes = message.len(), %error, "a message of a feed was not published");
        }
    }
}

/// Publishes, and waits while the hub is busy: meanwhile the feed is not read, and waits too.
async fn publish(hub: &Hub, channel: &str, outgoing: Outgoing) -> Result<(), HubError> {
    loop {
        let (told, tell) = oneshot::channel();
        hub.publish(channel, outgoing.clone(), move |result| {
            let _ = told.send(result); // nobody listens when we are stopped
        });
        match tell.await.unwrap_or(Err(HubError::Busy)) {
            Ok(_) => return Ok(()),
            Err(HubError::Busy) => sleep(WHILE_BUSY).await,
            Err(error) => return Err(error),
        }
    }
}

/// The data of a publication: JSON as it came, other text as a JSON string, octets as `{"base64":"…"}`.
fn json(message: &Message) -> RawJson {
    let made = match message {
        Message::Text(text) => match RawJson::parse(text) {
            Ok(json) => return json,
            Err(_) => serde_json::json!(text.as_str()),
        },
        Message::Binary(octets) => {
            use base64::Engine;
            let base64 = base64::engine::general_purpose::STANDARD.encode(octets);
            serde_json::json!({ "base64": base64 })
        }
    };
    RawJson::parse(&made.to_string()).unwrap_or_else(|_| unreachable!("serde_json writes JSON"))
}

const AFTER_REFUSAL: Duration = Duration::from_secs(60);
const WHILE_BUSY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(feeds: &[&str], hellos: &[&str]) -> Result<Vec<Feed>, String> {
        let own = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        Feed::read(&own(feeds), &own(hellos))
    }

    #[test]
    fn feeds_have_a_channel_a_url_and_maybe_a_hello() {
        let feeds = read(
            &["a:b=wss://h/?x=1", "c=ws://h"],
            &["a:b={\"op\":\"sub=1\"}"],
        );
        let feeds = feeds.expect("fine");
        assert_eq!(
            (&*feeds[0].channel, &*feeds[0].url),
            ("a:b", "wss://h/?x=1")
        );
        assert_eq!(feeds[0].hello.as_deref(), Some("{\"op\":\"sub=1\"}"));
        assert_eq!(feeds[1].hello, None);
        for (feeds, hellos, said) in [
            (&["a"][..], &[][..], "CHANNEL=URL"),
            (&["a=http://h"], &[], "ws:// or wss://"),
            (&["=ws://h"], &[], "--feed :"),
            (&["a=ws://h", "a=ws://i"], &[], "a feed already"),
            (&["a=ws://h"], &["b=x"], "no --feed of that name"),
            (&["a=ws://h"], &["a"], "CHANNEL=TEXT"),
        ] {
            let why = read(feeds, hellos).expect_err("refused");
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn whatever_comes_is_published_as_json() {
        let rows = [
            (Message::from(r#"{"a":1}"#), r#"{"a":1}"#),
            (Message::from("12"), "12"),
            (Message::from("plain \"text\""), r#""plain \"text\"""#),
            (Message::from(""), "\"\""),
            (Message::from(vec![0, 255]), r#"{"base64":"AP8="}"#),
        ];
        for (message, expected) in rows {
            assert_eq!(json(&message).as_str(), expected);
        }
    }
}
