//! Clients that behave as the SDKs do: they keep their position over connections, ask to recover from it,
//! and subscribe again when they are told to. They panic when what they see breaks a promise.

use crate::account::Account;
use crate::net::{ClientId, Net};
use serde_json::{Value, json};

/// A subscriber that wants every publication of a channel.
pub struct Follower {
    /// Its connection at the moment.
    pub client: ClientId,
    /// What it was told.
    pub account: Account,
    pending: Option<u32>,
}

impl Follower {
    /// One that has a connection, and is not subscribed yet.
    pub fn new(client: ClientId, channel: &str) -> Follower {
        Follower {
            client,
            account: Account::new(channel),
            pending: None,
        }
    }

    /// Neither a member nor about to be one.
    pub fn is_idle(&self) -> bool {
        !self.account.subscribed && self.pending.is_none()
    }

    /// Has another connection from now on.
    pub fn reconnected(&mut self, client: ClientId) {
        self.client = client;
        self.account.subscribed = false;
        self.pending = None;
    }

    /// Sends a subscribe command, from its position if it has one.
    pub fn subscribe(&mut self, net: &mut Net) {
        let request = self.account.request();
        self.pending = Some(net.tell(self.client, json!({ "subscribe": request })));
    }

    /// Sends an unsubscribe command and then a subscribe command.
    pub fn resubscribe(&mut self, net: &mut Net) {
        let channel = &self.account.channel;
        net.tell(
            self.client,
            json!({ "unsubscribe": { "channel": channel } }),
        );
        self.subscribe(net);
    }

    /// Reads what came: in order, and pushes only while subscribed.
    pub fn read(&mut self, net: &mut Net) {
        for value in std::mem::take(&mut net.clients[self.client].inbox) {
            let account = &mut self.account;
            let checked = if self.pending.is_some()
                && value["id"].as_u64() == self.pending.map(u64::from)
            {
                self.pending = None;
                if value["error"].is_object() {
                    assert_eq!(value["error"]["code"], 111);
                    continue; // temporary: it will try again
                }
                account.answer(&value["subscribe"])
            } else if value["push"]["channel"] == account.channel.as_str() && account.subscribed {
                account.push(&value["push"])
            } else {
                Ok(())
            };
            checked.unwrap_or_else(|broken| panic!("{broken}"));
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
