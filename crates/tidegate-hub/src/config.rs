//! What the hub allows: the table of namespaces, the tokens it trusts, the limits and the waits. It is a
//! value: to change it while the hub runs, give [`crate::Hub::reconfigure`] another one.

mod namespace;

pub use namespace::{
    Delivery, JoinLeave, Namespace, Namespaces, PresenceBy, Rate, RecoveryMode, Slow, Who,
};

use crate::reply::ClientError;
use crate::token::TokenKeys;
use crate::topic::TopicName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Config, Limits, Timeouts};

/// Everything that one hub is told at its start; shared by all its workers.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Whether clients may connect without a token, as a user with an empty name. Default: no.
    ///
    /// Without it a connect without a token is answered error 101.
    pub anonymous: bool,
    /// Development mode: the `data` of an anonymous client's connect command become its `conn_info`,
    /// unverified, so anyone may call himself anything; and where there are no [`HubConfig::tokens`] an
    /// anonymous client's token is accepted and **not looked at**. Default: no.
    pub dev: bool,
    /// What connection tokens are verified with. With `None` a connect with a token is closed with 3500.
    /// Default: `None`.
    pub tokens: Option<TokenKeys>,
    /// What subscription tokens are verified with, if not with [`HubConfig::tokens`]. Default: `None`.
    pub subscription_tokens: Option<TokenKeys>,
    /// Called, on a worker's thread, with the `kid` of a token for which a key set that comes from
    /// elsewhere ([`TokenKeys::fetched`]) has no key. It must not block: let it wake whoever fetches.
    /// Meanwhile the client gets error 100, which is temporary. Default: `None`.
    pub unknown_key: Option<UnknownKey>,
    /// Every user is subscribed by the server to a channel of its own in this namespace (`""` for none):
    /// `namespace:#user`. Default: `None`.
    pub personal: Option<String>,
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
    /// How long a connection or subscription lives on after its token has expired, so that a refresh that
    /// is under way arrives in time. Then 3005, or unsubscribe 2501. Default: 25 s.
    pub expired_grace: Duration,
    /// A client whose outbox is above the high mark and that takes not a byte for so long is closed with
    /// 3008. Default: 10 s.
    pub no_progress: Duration,
    /// A worker is told where a channel stands this long after a publication, so that members who missed it
    /// in silence are made to recover. Default: 40 s.
    /// Cost: one short mail for each channel that was published in and each worker with members of it.
    pub position_check: Duration,
    /// How often one client may send commands; beyond it error 111. Default: no limit but the guard's.
    pub command_rate: Option<Rate>,
    /// Limits and timeouts of the WebSocket connections. Default: messages of 64 KiB, and no WebSocket
    /// pings, because the hub's protocol has its own.
    pub connection: Arc<Config>,
}

impl Default for HubConfig {
    fn default() -> HubConfig {
        HubConfig {
            anonymous: false,
            dev: false,
            tokens: None,
            subscription_tokens: None,
            unknown_key: None,
            personal: None,
            node: "tidegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespaces: Namespaces::default(),
            limits: HubLimits::default(),
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            expired_grace: Duration::from_secs(25),
            no_progress: Duration::from_secs(10),
            position_check: Duration::from_secs(40),
            command_rate: None,
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
        let open = Namespace::open();
        let mut namespaces = Namespaces::new(open.clone());
        namespaces.set(
            "market",
            Namespace {
                history_size: 300,
                presence: false,
                join_leave: JoinLeave::Off,
                publish: Who::Nobody,
                see_presence: Who::Nobody,
                ..open.clone()
            },
        );
        namespaces.set("chat", open.clone());
        namespaces.set(
            "game",
            Namespace {
                history_size: 0,
                recovery: RecoveryMode::Off,
                read_history: Who::Nobody,
                ..open
            },
        );
        HubConfig {
            anonymous: true,
            dev: true,
            namespaces,
            ..HubConfig::default()
        }
    }

    /// The options of a channel if an anonymous client that is not subscribed may use it in this way.
    ///
    /// The HTTP routes ask here too, so that both doors have the same lock.
    ///
    /// # Errors
    /// 102 unknown channel (the namespace is not in the table), 103 permission denied, 108 not available
    /// (the channel keeps no history, or no presence).
    pub fn allow(&self, topic: &TopicName, access: Access) -> Result<&Namespace, ClientError> {
        self.allow_client(topic, access, "", false)
    }

    /// The options of a channel if a client of this user (empty: anonymous), which is subscribed to it or
    /// not, may use it in this way. A subscription token is not looked at here.
    ///
    /// # Errors
    /// As [`HubConfig::allow`].
    pub fn allow_client(
        &self,
        topic: &TopicName,
        access: Access,
        user: &str,
        subscribed: bool,
    ) -> Result<&Namespace, ClientError> {
        let options = self
            .namespaces
            .options(topic)
            .ok_or(ClientError::UNKNOWN_CHANNEL)?;
        let (who, available) = match access {
            Access::Subscribe => (options.subscribe, true),
            Access::Publish => (options.publish, true),
            Access::History => (options.read_history, options.has_history()),
            Access::Presence => (options.see_presence, options.presence),
        };
        let named = match who {
            Who::Nobody => false,
            Who::Subscribers => subscribed,
            Who::Users => !user.is_empty(),
            Who::Everyone => true,
        };
        // What is whispered to some must not be heard, or said, by others. A subscriber was let in.
        let open = access != Access::Subscribe || !topic.is_private();
        let inside = subscribed || (topic.admits(user) && open);
        match (available, named && inside) {
            (false, _) => Err(ClientError::NOT_AVAILABLE),
            (true, false) => Err(ClientError::PERMISSION_DENIED),
            (true, true) => Ok(options),
        }
    }

    /// What subscription tokens are verified with.
    pub(crate) fn subscription_keys(&self) -> Option<&TokenKeys> {
        self.subscription_tokens.as_ref().or(self.tokens.as_ref())
    }
}

/// See [`HubConfig::unknown_key`].
#[derive(Clone)]
pub struct UnknownKey(Arc<dyn Fn(&str) + Send + Sync>);

impl UnknownKey {
    /// Calls `hook` with the `kid` that no key has.
    pub fn new(hook: impl Fn(&str) + Send + Sync + 'static) -> UnknownKey {
        UnknownKey(Arc::new(hook))
    }

    pub(crate) fn call(&self, kid: &str) {
        (self.0)(kid);
    }
}

impl fmt::Debug for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnknownKey")
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
    /// Most keys of one channel whose newest value waits on a worker for a conflating subscriber; then the
    /// oldest goes, and counts as skipped. Default: 4,096.
    pub keys: usize,
    /// Most idempotency keys that one worker remembers; then the oldest goes. Default: 65,536.
    pub idempotency_keys: usize,
    /// How long an idempotency key is remembered. Default: 5 minutes.
    pub idempotency_ttl: Duration,
    /// Most revocations in force; then the oldest goes. Default: 16,384.
    pub revocations: usize,
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
            keys: 4_096,
            idempotency_keys: 65_536,
            idempotency_ttl: Duration::from_secs(300),
            revocations: 16_384,
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
