//! What the channels of a namespace keep, who may do what with them, and how they are delivered.

use crate::topic::TopicName;
use std::time::Duration;

/// Options of all channels of one namespace.
///
/// The default is closed: nothing is kept, only a subscription token opens a channel, and only the control
/// plane publishes. [`Namespace::open`] is the opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Most publications kept; zero keeps none, and such publications carry no offset. Default: 0.
    pub history_size: usize,
    /// How long a publication is kept. Default: 5 minutes.
    pub history_ttl: Duration,
    /// What a subscriber that comes back gets. Needs history. Default: [`RecoveryMode::Off`].
    pub recovery: RecoveryMode,
    /// Whether it is known who is subscribed. Default: no.
    pub presence: bool,
    /// What counts as being there: a connection, or a user with any number of them. Default: connections.
    pub presence_by: PresenceBy,
    /// How long a user whose last connection is gone still counts as there. If it comes back meanwhile,
    /// nobody hears of it. Only with [`PresenceBy::User`], and not for anonymous clients, who cannot be
    /// known again. Default: none.
    pub leave_grace: Duration,
    /// Whether subscribers are told who comes and goes. Default: off.
    pub join_leave: JoinLeave,
    /// Joins and leaves are collected for so long and then sent in one frame, or when that frame reaches
    /// 64 KiB; who came and went in between is not mentioned. Zero sends 20 a second at once, and collects
    /// what is beyond that for 100 ms. Default: zero.
    pub join_leave_batch: Duration,
    /// While more subscribers of a channel than this want to be told who comes and goes, nobody is: what
    /// each of so many would be told of each other grows with their square. The counts of presence stay.
    /// [`crate::WorkerStats::untold`] counts what was left out. Default: 1,000.
    pub join_leave_limit: usize,
    /// Who may subscribe without a subscription token. Default: nobody.
    pub subscribe: Who,
    /// Which clients may publish. Default: nobody.
    pub publish: Who,
    /// Which clients may read the history. Default: nobody.
    pub read_history: Who,
    /// Which clients may see who is there. Default: nobody.
    pub see_presence: Who,
    /// Whether subscribers are told which client has published (`info` of a publication: the client, its
    /// user, and what is known of them). Without it each delivery of a client's publication is some 70
    /// octets shorter in JSON, and nobody learns who it was. Default: they are told.
    pub publisher: bool,
    /// Data may be any octets, and only clients that speak protobuf can subscribe. Otherwise data are
    /// JSON, and everyone can. Default: JSON.
    pub binary: bool,
    /// How often one client may publish in these channels; beyond it error 111. Default: no limit but
    /// the guard's.
    pub publish_rate: Option<Rate>,
    /// How publications reach subscribers.
    pub delivery: Delivery,
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace {
            history_size: 0,
            history_ttl: Duration::from_secs(300),
            recovery: RecoveryMode::Off,
            presence: false,
            presence_by: PresenceBy::Connection,
            leave_grace: Duration::ZERO,
            join_leave: JoinLeave::Off,
            join_leave_batch: Duration::ZERO,
            join_leave_limit: 1_000,
            subscribe: Who::Nobody,
            publish: Who::Nobody,
            read_history: Who::Nobody,
            see_presence: Who::Nobody,
            publisher: true,
            binary: false,
            publish_rate: None,
            delivery: Delivery::default(),
        }
    }
}

impl Namespace {
    /// Everything on, for everyone: 100 publications for 10 minutes, recovery, presence, join and leave,
    /// every delivery mode.
    pub fn open() -> Namespace {
        Namespace {
            history_size: 100,
            history_ttl: Duration::from_secs(600),
            recovery: RecoveryMode::Stream,
            presence: true,
            join_leave: JoinLeave::Forced,
            subscribe: Who::Everyone,
            publish: Who::Everyone,
            read_history: Who::Everyone,
            see_presence: Who::Everyone,
            delivery: Delivery {
                conflate: true,
                ..Delivery::default()
            },
            ..Namespace::default()
        }
    }

    /// Whether its publications have offsets.
    pub fn has_history(&self) -> bool {
        self.history_size > 0
    }

    /// Whether its subscribers can recover.
    pub fn recovers(&self) -> bool {
        self.recovery != RecoveryMode::Off && self.has_history()
    }
}

/// What a subscriber that comes back gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecoveryMode {
    /// Nothing.
    #[default]
    Off,
    /// Every publication that it missed, or the truth that some are gone.
    Stream,
    /// The newest publication; also on the first subscribe. A subscriber that is conflated gets the newest
    /// of each key, as far as the history reaches.
    Cache,
}

/// What presence counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PresenceBy {
    /// Each connection joins and leaves by itself.
    #[default]
    Connection,
    /// A user joins with its first connection and leaves with its last. Lists have one entry for each
    /// user. An anonymous client counts as a user of its own.
    User,
}

/// Whether subscribers are told who comes and goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum JoinLeave {
    /// Nobody is.
    #[default]
    Off,
    /// Those that ask for it in their subscribe command (`join_leave`).
    Asked,
    /// All are.
    Forced,
}

/// Which clients may do something with a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Who {
    /// None; to subscribe, a subscription token opens the door.
    #[default]
    Nobody,
    /// Those that are subscribed to the channel. For subscribing itself this is the same as nobody.
    Subscribers,
    /// Those that a token gave a name.
    Users,
    /// Anonymous ones too.
    Everyone,
}

/// So many a second for ever, so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// A second; zero counts as 1.
    pub per_second: u32,
    /// At once after a pause; zero counts as 1.
    pub burst: u32,
}

/// How publications reach subscribers.
///
/// A subscriber asks for a mode in the `data` of its subscribe command: `{"delivery":"conflate","hz":5}`.
/// The `data` of the answer say what it got. A key is the publication's tag `key`; else what
/// [`Delivery::key`] points to; else the client that published; else one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether subscribers may ask for `conflate` and `latest`; otherwise error 108. Default: no.
    pub conflate: bool,
    /// The most ticks a second that a subscriber may ask for; it gets no more than this. Also the rate of
    /// `latest`. Default: 60.
    pub max_hz: u32,
    /// A JSON pointer (RFC 6901) to the key inside of the data, such as `/symbol`. Default: none.
    pub key: Option<String>,
    /// What becomes of a subscriber that does not take its publications fast enough. Default: it is
    /// closed with 3008.
    pub slow: Slow,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            conflate: false,
            max_hz: 60,
            key: None,
            slow: Slow::Close,
        }
    }
}

/// What becomes of a subscriber that does not take its publications fast enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Slow {
    /// When its outbox is full it is closed with 3008; it comes back and recovers.
    #[default]
    Close,
    /// When its outbox passes the high mark it is moved down to `conflate` at this rate, and told so by
    /// the tag `skipped` of what it gets from then on. It is closed with 3008 only if it takes not a byte
    /// for [`crate::HubConfig::no_progress`].
    Conflate {
        /// Ticks a second; zero counts as 1.
        hz: u32,
    },
}

/// Options by namespace: the part of a channel's name before its first `:`.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    plain: Option<Namespace>,
    named: Vec<(String, Namespace)>,
}

impl Namespaces {
    /// A table whose channels without a namespace have these options. An empty table
    /// ([`Namespaces::default`]) knows no channel at all.
    pub fn new(plain: Namespace) -> Namespaces {
        Namespaces {
            plain: Some(plain),
            named: Vec::new(),
        }
    }

    /// Adds a namespace, or replaces it.
    pub fn set(&mut self, name: &str, options: Namespace) {
        self.named.retain(|(known, _)| known != name);
        self.named.push((name.to_owned(), options));
    }

    /// The options of a channel; `None` if its namespace is not in the table.
    pub fn options(&self, topic: &TopicName) -> Option<&Namespace> {
        match topic.namespace() {
            None => self.plain.as_ref(),
            Some(wanted) => self.get(wanted),
        }
    }

    /// The options of the namespace of this name.
    pub fn get(&self, wanted: &str) -> Option<&Namespace> {
        self.named
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, options)| options)
    }

    /// All namespaces with their names; the nameless one comes first, as `""`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        let plain = self.plain.iter().map(|options| ("", options));
        let named = self.named.iter();
        plain.chain(named.map(|(name, options)| (name.as_str(), options)))
    }
}
