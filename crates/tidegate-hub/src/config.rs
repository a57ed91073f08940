//! What the hub allows: the table of namespaces, the limits and the waits. It never changes while the hub runs.

use crate::reply::ClientError;
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Config, Limits, Timeouts};

/// Everything that one hub is told at its start; shared by all its workers.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Whether clients may connect without a token, as a user with an empty name. Default: no.
    ///
    /// With it on (development mode) a token is accepted and **not looked at**, and the `data` of the
    /// connect command becomes the client's `conn_info`, unverified: anyone may call himself anything.
    /// With it off nobody can connect yet, because tokens are not verified yet: a connect with a token is
    /// closed with 3500, one without is answered error 101.
    pub anonymous: bool,
    /// What the connect result says in `node`. Default: `tidegate`.
    pub node: String,
    /// What the connect result says in `version`. Default: this crate's version.
    pub version: String,
    /// What each channel may do.
    pub namespaces: Namespaces,
    /// Counts and sizes.
    pub limits: HubLimits,
    /// The hub pings a client this often, with an empty reply. Default: 25 s.
    pub ping: Duration,
    /// How long a client may take to answer such a ping; then it is closed with 3012. Default: 10 s.
    pub pong: Duration,
    /// How long a client may take from the handshake to its connect command; then 3502. Default: 15 s.
    pub connect: Duration,
    /// Limits and timeouts of the WebSocket connections. Default: messages of 64 KiB, and no WebSocket
    /// pings, because the hub's protocol has its own.
    pub connection: Arc<Config>,
}

impl Default for HubConfig {
    fn default() -> HubConfig {
        HubConfig {
            anonymous: false,
            node: "tidegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespaces: Namespaces::default(),
            limits: HubLimits::default(),
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            connection: Arc::new(Config {
                limits: Limits::hub(),
                timeouts: Timeouts {
                    ping_interval: None,
                    ..Timeouts::default()
                },
                ..Config::default()
            }),
        }
    }
}

impl HubConfig {
    /// Development mode: anonymous clients, and the four kinds of channels that the demonstration uses.
    ///
    /// | channels   | history | recovery | presence, join and leave | client may publish |
    /// |------------|---------|----------|--------------------------|--------------------|
    /// | `market:*` | 300     | yes      | no                       | no                 |
    /// | `chat:*`   | 100     | yes      | yes                      | yes                |
    /// | `game:*`   | none    | no       | yes                      | yes                |
    /// | no `:`     | 100     | yes      | yes                      | yes                |
    pub fn dev() -> HubConfig {
        let open = ChannelOptions::open();
        let mut namespaces = Namespaces::new(open.clone());
        namespaces.set(
            "market",
            ChannelOptions {
                history_size: 300,
                presence: false,
                join_leave: false,
                client_publish: false,
                client_presence: false,
                ..open.clone()
            },
        );
        namespaces.set("chat", open.clone());
        namespaces.set(
            "game",
            ChannelOptions {
                history_size: 0,
                recover: false,
                client_history: false,
                ..open
            },
        );
        HubConfig {
            anonymous: true,
            namespaces,
            ..HubConfig::default()
        }
    }

    /// The options of a channel if a client may use it in this way.
    ///
    /// The HTTP routes ask here too, so that both doors have the same lock.
    ///
    /// # Errors
    /// 102 unknown channel (the namespace is not in the table), 103 permission denied, 108 not available
    /// (the channel keeps no history, or no presence).
    pub fn allow(&self, topic: &TopicName, access: Access) -> Result<&ChannelOptions, ClientError> {
        let options = self
            .namespaces
            .options(topic)
            .ok_or(ClientError::UNKNOWN_CHANNEL)?;
        let (allowed, available) = match access {
            Access::Subscribe => (options.client_subscribe, true),
            Access::Publish => (options.client_publish, true),
            Access::History => (options.client_history, options.history_size > 0),
            Access::Presence => (options.client_presence, options.presence),
        };
        match (available, allowed) {
            (false, _) => Err(ClientError::NOT_AVAILABLE),
            (true, false) => Err(ClientError::PERMISSION_DENIED),
            (true, true) => Ok(options),
        }
    }
}

/// A way in which a client wants to use a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Receive its publications.
    Subscribe,
    /// Send publications.
    Publish,
    /// Read its history.
    History,
    /// See who is there.
    Presence,
}

/// What a channel keeps and what clients may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Most publications kept; zero keeps none, and such publications carry no offset.
    pub history_size: usize,
    /// How long a publication is kept.
    pub history_ttl: Duration,
    /// Whether a subscriber that comes back gets what it missed. Needs history.
    pub recover: bool,
    /// Whether it is known who is subscribed.
    pub presence: bool,
    /// Whether subscribers are told who comes and goes.
    pub join_leave: bool,
    /// Whether clients may subscribe.
    pub client_subscribe: bool,
    /// Whether clients may publish; they need not be subscribed.
    pub client_publish: bool,
    /// Whether clients, and anyone by HTTP, may read the history.
    pub client_history: bool,
    /// Whether clients may see who is there.
    pub client_presence: bool,
}

impl ChannelOptions {
    /// Everything on: 100 publications for 10 minutes, recovery, presence, join and leave.
    pub fn open() -> ChannelOptions {
        ChannelOptions {
            history_size: 100,
            history_ttl: Duration::from_secs(600),
            recover: true,
            presence: true,
            join_leave: true,
            client_subscribe: true,
            client_publish: true,
            client_history: true,
            client_presence: true,
        }
    }

    /// Whether its publications have offsets.
    pub fn has_history(&self) -> bool {
        self.history_size > 0
    }

    /// Whether its subscribers can recover.
    pub fn recovers(&self) -> bool {
        self.recover && self.has_history()
    }
}

/// Options by namespace: the part of a channel's name before its first `:`.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    plain: Option<ChannelOptions>,
    named: Vec<(String, ChannelOptions)>,
}

impl Namespaces {
    /// A table whose channels without a namespace have these options. An empty table
    /// ([`Namespaces::default`]) knows no channel at all.
    pub fn new(plain: ChannelOptions) -> Namespaces {
        Namespaces {
            plain: Some(plain),
            named: Vec::new(),
        }
    }

    /// Adds a namespace, or replaces it.
    pub fn set(&mut self, name: &str, options: ChannelOptions) {
        self.named.retain(|(known, _)| known != name);
        self.named.push((name.to_owned(), options));
    }

    /// The options of a channel; `None` if its namespace is not in the table.
    pub fn options(&self, topic: &TopicName) -> Option<&ChannelOptions> {
        match topic.namespace() {
            None => self.plain.as_ref(),
            Some(wanted) => self
                .named
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, options)| options),
        }
    }
}

/// Counts and sizes of the hub, beyond those of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Most channels a client may be subscribed to; then error 106. Default: 128.
    pub channels: usize,
    /// Most commands of one client that wait for another worker's answer; then error 111. Default: 256.
    pub in_flight: u32,
    /// The same for all clients of a worker together. Default: 16,384.
    /// Cost: at most so many answers wait at a home worker when this one's mailbox is full.
    pub worker_in_flight: u32,
    /// Longest `conn_info` in bytes; a longer one is answered error 106. Default: 4 KiB.
    /// Cost: kept once for each client.
    pub conn_info: usize,
    /// Most bytes of one channel's history; the oldest publications go first. Default: 512 KiB.
    /// A recovery or history reply is never longer, so it fits an outbox.
    pub topic_history: usize,
    /// Most bytes of all histories of one worker; the oldest publications go first. Default: 64 MiB.
    pub worker_history: usize,
    /// Most channels with a position that one worker remembers; then error 106. Default: 262,144.
    /// Cost: about 300 bytes each.
    pub streams: usize,
    /// How long a channel's position outlives its last subscriber and its last publication. Within this
    /// time a subscriber that comes back is told truly that it missed nothing. Default: 10 minutes.
    pub remember: Duration,
    /// Longest presence list in bytes; beyond it presence is answered error 106, while the counts stay
    /// available. Default: 512 KiB.
    pub presence: usize,
}

impl Default for HubLimits {
    fn default() -> HubLimits {
        HubLimits {
            channels: 128,
            in_flight: 256,
            worker_in_flight: 16_384,
            conn_info: 4 << 10,
            topic_history: 512 << 10,
            worker_history: 64 << 20,
            streams: 262_144,
            remember: Duration::from_secs(600),
            presence: 512 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_development_table_says_what_each_channel_may_do() {
        use Access::*;
        let config = HubConfig::dev();
        let rows: &[(&str, Access, Result<(), u16>)] = &[
            ("market:BTC-USD", Subscribe, Ok(())),
            ("market:BTC-USD", History, Ok(())),
            ("market:BTC-USD", Publish, Err(103)),
            ("market:BTC-USD", Presence, Err(108)),
            ("chat:tea", Publish, Ok(())),
            ("chat:tea", Presence, Ok(())),
            ("chat:tea", History, Ok(())),
            ("game:arena", Publish, Ok(())),
            ("game:arena", History, Err(108)),
            ("game:arena", Presence, Ok(())),
            ("anything", Publish, Ok(())),
            ("unknown:thing", Subscribe, Err(102)),
            (":odd", Subscribe, Err(102)),
        ];
        for (channel, access, expected) in rows {
            let topic = TopicName::parse(channel).unwrap();
            let got = config
                .allow(&topic, *access)
                .map(|_| ())
                .map_err(|e| e.code);
            assert_eq!(&got, expected, "{channel} {access:?}");
        }
    }

    #[test]
    fn an_empty_table_knows_no_channel() {
        let topic = TopicName::parse("a").unwrap();
        assert!(HubConfig::default().namespaces.options(&topic).is_none());
    }
}
