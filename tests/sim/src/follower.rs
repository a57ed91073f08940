//! Clients that behave as the SDKs do: they keep their position over connections, ask to recover from it,
//! and subscribe again when they are told to. They panic when what they see breaks a promise.

use crate::net::{ClientId, Net};
use serde_json::{Value, json};

/// A subscriber that wants every publication of a channel.
pub struct Follower {
    /// Its connection at the moment.
    pub client: ClientId,
    /// What it follows.
    pub channel: String,
    /// Offset and epoch.
    pub position: Option<(u64, Value)>,
    pending: Option<u32>,
    /// It is a member, as far as it knows.
    pub subscribed: bool,
    /// Everything it was given since its last admitted gap, by offset.
    pub seen: Vec<(u64, Value)>,
    /// How often it was told that something is gone.
    pub gaps: usize,
    /// How often it was given all that it missed.
    pub recoveries: usize,
    /// How often it was ordered to recover.
    pub resyncs: usize,
}

impl Follower {
    /// One that has a connection, and is not subscribed yet.
    pub fn new(client: ClientId, channel: &str) -> Follower {
        Follower {
            client,
            channel: channel.to_owned(),
            position: None,
            pending: None,
            subscribed: false,
            seen: Vec::new(),
            gaps: 0,
            recoveries: 0,
            resyncs: 0,
        }
    }

    /// Neither a member nor about to be one.
    pub fn is_idle(&self) -> bool {
        !self.subscribed && self.pending.is_none()
    }

    /// Has another connection from now on.
    pub fn reconnected(&mut self, client: ClientId) {
        self.client = client;
        self.subscribed = false;
        self.pending = None;
    }

    /// Sends a subscribe command, from its position if it has one.
    pub fn subscribe(&mut self, net: &mut Net) {
        let mut request = json!({ "channel": self.channel });
        if let Some((offset, epoch)) = &self.position {
            request["recover"] = json!(true);
            request["offset"] = json!(offset);
            request["epoch"] = epoch.clone();
        }
        self.subscribed = false;
        self.pending = Some(net.tell(self.client, json!({ "subscribe": request })));
    }

    /// Sends an unsubscribe command and then a subscribe command.
    pub fn resubscribe(&mut self, net: &mut Net) {
        net.tell(
            self.client,
            json!({ "unsubscribe": { "channel": self.channel } }),
        );
        self.subscribe(net);
    }

    fn take(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().expect("an offset");
        let (position, _) = self.position.as_mut().expect("a push before any position");
        assert_eq!(
            offset,
            *position + 1,
            "a gap, a double or a wrong order in {}",
            self.channel
        );
        *position = offset;
        self.seen.push((offset, publication["data"]["n"].clone()));
    }

    /// Reads what came: in order, and pushes only while subscribed.
    pub fn read(&mut self, net: &mut Net) {
        for value in std::mem::take(&mut net.clients[self.client].inbox) {
            if self.pending.is_some() && value["id"].as_u64() == self.pending.map(u64::from) {
                self.pending = None;
                if value["error"].is_object() {
                    assert_eq!(value["error"]["code"], 111);
                    continue; // temporary: it will try again
                }
                self.answer(&value["subscribe"]);
            } else if value["push"]["channel"] == self.channel.as_str() && self.subscribed {
                let push = &value["push"];
                if push["pub"].is_object() {
                    self.take(&push["pub"]);
                } else if push["unsubscribe"].is_object() {
                    assert_eq!(push["unsubscribe"]["code"], 2500);
                    self.resyncs += 1;
                    self.subscribed = false;
                }
            }
        }
    }

    fn answer(&mut self, result: &Value) {
        let offset = result["offset"].as_u64().expect("a position");
        let reply = (offset, result["epoch"].clone());
        self.subscribed = true;
        if result["recovered"] == true {
            self.recoveries += 1;
            assert_eq!(self.position.as_ref(), Some(&reply));
            for publication in result["publications"].as_array().into_iter().flatten() {
                self.take(publication);
            }
        } else {
            if self.position.is_some() {
                self.gaps += 1;
                assert_eq!(result["was_recovering"], true);
            }
            self.seen.clear();
            self.position = Some(reply);
        }
    }
}

/// A subscriber that wants the newest value of each key.
pub struct Sampler {
    /// Its connection at the moment.
    pub client: ClientId,
    /// What it samples.
    pub channel: String,
    pending: Option<u32>,
    /// It is a member, as far as it knows.
    pub subscribed: bool,
    /// What it was given since it last subscribed.
    pub seen: Vec<Value>,
    /// What it was told to have skipped since then.
    pub skipped: u64,
    /// The same, over all its subscriptions.
    pub skipped_in_all: u64,
}

impl Sampler {
    /// One that has a connection, and is not subscribed yet.
    pub fn new(client: ClientId, channel: &str) -> Sampler {
        Sampler {
            client,
            channel: channel.to_owned(),
            pending: None,
            subscribed: false,
            seen: Vec::new(),
            skipped: 0,
            skipped_in_all: 0,
        }
    }

    /// Neither a member nor about to be one.
    pub fn is_idle(&self) -> bool {
        !self.subscribed && self.pending.is_none()
    }

    /// Has another connection from now on.
    pub fn reconnected(&mut self, client: ClientId) {
        self.client = client;
        self.subscribed = false;
        self.pending = None;
    }

    /// Sends a subscribe command for so many values of each key a second.
    pub fn subscribe(&mut self, net: &mut Net, hz: u64) {
        let data = json!({ "delivery": "conflate", "hz": hz });
        let request = json!({ "channel": self.channel, "data": data });
        self.pending = Some(net.tell(self.client, json!({ "subscribe": request })));
    }

    /// Reads what came.
    pub fn read(&mut self, net: &mut Net) {
        for value in std::mem::take(&mut net.clients[self.client].inbox) {
            if self.pending.is_some() && value["id"].as_u64() == self.pending.map(u64::from) {
                self.pending = None;
                self.subscribed = value["subscribe"].is_object();
                assert!(self.subscribed || value["error"]["code"] == 111, "{value}");
                assert!(value["subscribe"]["offset"].is_null(), "{value}");
                self.seen.clear();
                self.skipped = 0;
            } else if value["push"]["channel"] == self.channel.as_str() && self.subscribed {
                let push = &value["push"];
                if push["unsubscribe"].is_object() {
                    assert_eq!(push["unsubscribe"]["code"], 2500);
                    self.subscribed = false;
                } else if push["pub"].is_object() {
                    self.take(&push["pub"]);
                }
            }
        }
    }

    fn take(&mut self, publication: &Value) {
        assert!(publication["offset"].is_null(), "{publication}");
        let skipped = publication["tags"]["skipped"].as_str();
        let skipped: u64 = skipped
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no count of the skipped: {publication}"));
        self.skipped += skipped;
        self.skipped_in_all += skipped;
        self.seen.push(publication["data"].clone());
    }
}
