//! The configuration file's tables and keys, as serde reads them; what they mean together is decided in
//! `settings` and `config::hub`. A key that is not here is an error.

use crate::cli::LogFormat;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use tidegate_guard::ProxyField;
use tidegate_guard::written::{Secret, Size, Span};
use tidegate_hub::{Delivery, HubConfig, HubLimits, Namespace};
use tidegate_proto::Limits;

/// The whole file. A table or key that is left out has its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    /// Where and for whom the server listens.
    pub(crate) server: ServerTable,
    /// https and wss.
    pub(crate) tls: TlsTable,
    /// What is logged.
    pub(crate) log: LogTable,
    /// How the server goes down.
    pub(crate) drain: DrainTable,
    /// The admin listener.
    pub(crate) admin: AdminTable,
    /// The HTTP API.
    pub(crate) api: ApiTable,
    /// Who may connect, and how clients are kept.
    pub(crate) clients: ClientsTable,
    /// What connection tokens are verified with.
    pub(crate) tokens: TokensTable,
    /// What subscription tokens are verified with, if not with those.
    pub(crate) subscription_tokens: TokensTable,
    /// Counts, sizes and rates.
    pub(crate) limits: LimitsTable,
    /// Channels whose name has no `:`. Without this table there are none.
    pub(crate) channels: Option<NamespaceTable>,
    /// Channels by the part of their name before the first `:`.
    pub(crate) namespaces: BTreeMap<String, NamespaceTable>,
}

/// `[server]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerTable {
    pub(crate) listen: Option<String>,
    pub(crate) workers: Option<u16>,
    pub(crate) hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allow_plain: bool,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) proxy_header: ProxyField,
    pub(crate) development: bool,
    pub(crate) node: Option<String>,
}

/// `[tls]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsTable {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogTable {
    pub(crate) format: Option<LogFormat>,
    pub(crate) filter: Option<String>,
}

/// `[drain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DrainTable {
    pub(crate) deadline: Option<Span>,
    pub(crate) window: Span,
    pub(crate) per_second: u32,
}

impl Default for DrainTable {
    fn default() -> DrainTable {
        DrainTable {
            deadline: None,
            window: seconds(10),
            per_second: 1_000,
        }
    }
}

/// `[admin]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminTable {
    pub(crate) listen: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) token_file: Option<PathBuf>,
}

/// `[api]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiTable {
    pub(crate) keys: Vec<Secret>,
    pub(crate) keys_file: Option<PathBuf>,
    pub(crate) idempotency_ttl: Span,
    pub(crate) max_body: Size,
}

impl Default for ApiTable {
    fn default() -> ApiTable {
        ApiTable {
            keys: Vec::new(),
            keys_file: None,
            idempotency_ttl: seconds(300),
            max_body: Size(1 << 20),
        }
    }
}

/// `[tokens]` and `[subscription_tokens]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokensTable {
    pub(crate) hmac_secret: Option<Secret>,
    pub(crate) hmac_secret_file: Option<PathBuf>,
    pub(crate) public_keys: Vec<PathBuf>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) jwks_refresh: Option<Span>,
    pub(crate) audience: Option<String>,
    pub(crate) issuer: Option<String>,
}

impl TokensTable {
    /// Whether it names any key at all.
    pub(crate) fn has_keys(&self) -> bool {
        self.hmac_secret.is_some()
            || self.hmac_secret_file.is_some()
            || !self.public_keys.is_empty()
            || self.jwks_url.is_some()
    }
}

/// `[clients]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientsTable {
    pub(crate) anonymous: bool,
    pub(crate) personal_namespace: Option<String>,
    pub(crate) ping: Span,
    pub(crate) pong: Span,
    pub(crate) connect: Span,
    pub(crate) expired_grace: Span,
    pub(crate) no_progress: Span,
    pub(crate) position_check: Span,
    pub(crate) command_rate: Option<RateTable>,
}

impl Default for ClientsTable {
    fn default() -> ClientsTable {
        let hub = HubConfig::default();
        ClientsTable {
            anonymous: false,
            personal_namespace: None,
            ping: Span(hub.ping),
            pong: Span(hub.pong),
            connect: Span(hub.connect),
            expired_grace: Span(hub.expired_grace),
            no_progress: Span(hub.no_progress),
            position_check: Span(hub.position_check),
            command_rate: None,
        }
    }
}

/// `{ per_second = 10, burst = 20 }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateTable {
    pub(crate) per_second: NonZero<u32>,
    pub(crate) burst: NonZero<u32>,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsTable {
    pub(crate) connections: Option<NonZero<u64>>,
    pub(crate) connections_per_ip: Option<NonZero<u32>>,
    pub(crate) handshakes: Option<RateTable>,
    pub(crate) message_size: Size,
    pub(crate) outbox: Size,
    pub(crate) messages_per_second: usize,
    pub(crate) messages_burst: usize,
    pub(crate) bytes_per_second: Size,
    pub(crate) bytes_burst: Size,
    pub(crate) channels_per_client: usize,
    pub(crate) conn_info: Size,
    pub(crate) history_per_channel: Size,
    pub(crate) history_per_worker: Size,
    pub(crate) channels_per_worker: usize,
    pub(crate) remember: Span,
    pub(crate) presence_reply: Size,
    pub(crate) conflation_keys: usize,
    pub(crate) revocations: usize,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        let (hub, connection) = (HubLimits::default(), Limits::hub());
        LimitsTable {
            connections: None,
            connections_per_ip: None,
            handshakes: None,
            message_size: Size(connection.max_message_size),
            outbox: Size(connection.outbox),
            messages_per_second: 1_000,
            messages_burst: 2_000,
            bytes_per_second: Size(8 << 20),
            bytes_burst: Size(16 << 20),
            channels_per_client: hub.channels,
            conn_info: Size(hub.conn_info),
            history_per_channel: Size(hub.topic_history),
            history_per_worker: Size(hub.worker_history),
            channels_per_worker: hub.streams,
            remember: Span(hub.remember),
            presence_reply: Size(hub.presence),
            conflation_keys: hub.keys,
            revocations: hub.revocations,
        }
    }
}

/// `[channels]` and `[namespaces.NAME]`. Nothing is kept and nothing allowed unless it is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NamespaceTable {
    pub(crate) history_size: usize,
    pub(crate) history_ttl: Span,
    pub(crate) recovery: RecoveryKey,
    pub(crate) presence: bool,
    pub(crate) presence_by: PresenceByKey,
    pub(crate) leave_grace: Span,
    pub(crate) join_leave: JoinLeaveKey,
    pub(crate) join_leave_batch: Span,
    pub(crate) join_leave_limit: usize,
    pub(crate) subscribe: WhoKey,
    pub(crate) publish: WhoKey,
    pub(crate) read_history: WhoKey,
    pub(crate) see_presence: WhoKey,
    pub(crate) publisher: bool,
    pub(crate) binary: bool,
    pub(crate) publish_rate: Option<RateTable>,
    pub(crate) delivery: DeliveryTable,
}

impl Default for NamespaceTable {
    fn default() -> NamespaceTable {
        let hub = Namespace::default();
        NamespaceTable {
            history_size: hub.history_size,
            history_ttl: Span(hub.history_ttl),
            recovery: RecoveryKey::Off,
            presence: hub.presence,
            presence_by: PresenceByKey::Connection,
            leave_grace: Span(hub.leave_grace),
            join_leave: JoinLeaveKey::Off,
            join_leave_batch: Span(hub.join_leave_batch),
            join_leave_limit: hub.join_leave_limit,
            subscribe: WhoKey::Nobody,
            publish: WhoKey::Nobody,
            read_history: WhoKey::Nobody,
            see_presence: WhoKey::Nobody,
            publisher: hub.publisher,
            binary: hub.binary,
            publish_rate: None,
            delivery: DeliveryTable::default(),
        }
    }
}

/// `[namespaces.NAME.delivery]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliveryTable {
    pub(crate) conflate: bool,
    pub(crate) max_hz: NonZero<u32>,
    pub(crate) key: Option<String>,
    pub(crate) slow: SlowKey,
    pub(crate) slow_hz: NonZero<u32>,
}

impl Default for DeliveryTable {
    fn default() -> DeliveryTable {
        let hub = Delivery::default();
        let nonzero = |n| NonZero::new(n).unwrap_or(NonZero::<u32>::MIN);
        DeliveryTable {
            conflate: hub.conflate,
            max_hz: nonzero(hub.max_hz),
            key: hub.key,
            slow: SlowKey::Close,
            slow_hz: nonzero(2),
        }
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident),+ })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub(crate) enum $name { $($variant),+ }
    )*};
}

words! {
    /// `recovery`.
    RecoveryKey { Off, Stream, Cache }
    /// `presence_by`.
    PresenceByKey { Connection, User }
    /// `join_leave`.
    JoinLeaveKey { Off, Asked, Forced }
    /// `subscribe`, `publish`, `read_history`, `see_presence`.
    WhoKey { Nobody, Subscribers, Users, Everyone }
    /// `delivery.slow`.
    SlowKey { Close, Conflate }
}

const fn seconds(n: u64) -> Span {
    Span(std::time::Duration::from_secs(n))
}
