//! The policy's tables and keys, as serde reads them; a key that is not here is an error. Keys of the route
//! tables are optional: a route's own word counts, then the whole policy's, then the default.

#[cfg(feature = "schema")]
use super::content::schema::SchemaTable;
use super::content::{BehaviourTable, RulesTable};
use super::credentials::{Algorithm, Source};
use super::identities::{CertificateName, Identity};
use super::origins::{Missing, Word};
use super::values::{EndCode, HostText, Network, OriginText, RateText, Token};
use super::{Compression, FailMode, PlainHttp};
use crate::written::{Secret, Size, Span};
use serde::Deserialize;
use std::num::NonZero;
use std::path::PathBuf;
use toml::Spanned;

/// The whole text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) server: ServerTable,
    pub(super) connections: ConnectionsTable,
    pub(super) audit: AuditTable,
    pub(super) issuers: Vec<Spanned<IssuerTable>>,
    pub(super) origins: OriginsTable,
    pub(super) subprotocols: Placed<SubprotocolsTable>,
    pub(super) compression: CompressionTable,
    pub(super) auth: Placed<AuthTable>,
    pub(super) limits: Placed<LimitsTable>,
    pub(super) rates: RatesTable,
    pub(super) rules: RulesTable,
    #[cfg(feature = "schema")]
    pub(super) schema: SchemaTable,
    pub(super) behaviour: Placed<BehaviourTable>,
    pub(super) fail: FailTable,
    pub(super) routes: Vec<Spanned<RouteTable>>,
}

/// A table that may be left out, with its place when it is there.
pub(super) type Placed<T> = Option<Spanned<T>>;

/// `[server]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerTable {
    pub(super) hosts: Vec<HostText>,
    pub(super) allow_plain: bool,
    pub(super) plain_http: PlainHttp,
    pub(super) trusted_proxies: Vec<Network>,
    pub(super) client_cert: bool,
}

/// `[connections]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConnectionsTable {
    pub(super) total: Option<NonZero<u64>>,
    pub(super) per_ip: Option<NonZero<u32>>,
    pub(super) per_identity: Option<NonZero<u32>>,
    pub(super) handshakes: Option<RateText>,
}

/// `[audit]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuditTable {
    pub(super) file: Option<PathBuf>,
}

/// `[[issuers]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerTable {
    pub(super) issuer: Spanned<String>,
    pub(super) audience: Spanned<String>,
    pub(super) algorithms: Spanned<Vec<Algorithm>>,
    pub(super) hmac_secret: Option<Secret>,
    pub(super) hmac_secret_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) public_keys: Vec<PathBuf>,
    pub(super) jwks_url: Option<String>,
    pub(super) jwks_refresh: Option<Span>,
}

/// `[origins]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OriginsTable {
    pub(super) same_origin: Option<bool>,
    pub(super) allow: Option<Vec<OriginText>>,
    pub(super) missing: Option<Missing>,
    pub(super) null: Option<Word>,
    pub(super) malformed: Option<Word>,
    pub(super) repeated: Option<Word>,
}

/// `[subprotocols]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SubprotocolsTable {
    pub(super) allow: Option<Vec<Token>>,
    pub(super) required: Option<bool>,
}

/// `[compression]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CompressionTable {
    pub(super) deflate: Option<Compression>,
    pub(super) max_ratio: Option<NonZero<u32>>,
}

/// `[auth]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthTable {
    pub(super) required: Option<bool>,
    pub(super) sources: Option<Vec<Source>>,
    pub(super) cookie: Option<Token>,
    pub(super) ticket_ttl: Option<Span>,
    pub(super) first_message: Option<Span>,
    pub(super) leeway: Option<Span>,
    pub(super) end_code: Option<EndCode>,
    pub(super) roles: Option<Vec<String>>,
    pub(super) certificate_names: Option<Vec<CertificateName>>,
    pub(super) certificate_identities: Option<Vec<Identity>>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) connections: Option<NonZero<u32>>,
    pub(super) message_size: Option<Size>,
    pub(super) frame_size: Option<Size>,
    pub(super) fragments: Option<NonZero<u32>>,
    pub(super) empty_fragments: Option<u32>,
    pub(super) outbox: Option<Size>,
    pub(super) message_deadline: Option<Span>,
    pub(super) idle: Option<Span>,
    pub(super) lifetime: Option<Span>,
    pub(super) ping: Option<Span>,
    pub(super) pong: Option<Span>,
}

/// `[rates]`, of each connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RatesTable {
    pub(super) messages: Option<RateText>,
    pub(super) bytes: Option<RateText>,
    pub(super) control: Option<RateText>,
}

/// `[fail]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FailTable {
    pub(super) content: Option<FailMode>,
    pub(super) credentials: Option<FailMode>,
    pub(super) audit: Option<FailMode>,
}

/// `[[routes]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RouteTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) prefix: Option<Spanned<String>>,
    pub(super) hosts: Vec<Spanned<HostText>>,
    pub(super) origins: OriginsTable,
    pub(super) subprotocols: Placed<SubprotocolsTable>,
    pub(super) compression: CompressionTable,
    pub(super) auth: Placed<AuthTable>,
    pub(super) limits: Placed<LimitsTable>,
    pub(super) rates: RatesTable,
    pub(super) rules: RulesTable,
    #[cfg(feature = "schema")]
    pub(super) schema: SchemaTable,
    pub(super) behaviour: Placed<BehaviourTable>,
    pub(super) fail: FailTable,
}
