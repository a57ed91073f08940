//! The command line of `tidegate guard`; what its values mean together is decided in `settings`.

use super::audit::Aside;
use crate::cli::{AdminAddr, LogFormat, parse_admin, parse_listen};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What `tidegate guard` can be told.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct GuardArgs {
    #[command(subcommand)]
    pub(super) aside: Option<Aside>,

    /// The server to protect, such as ws://127.0.0.1:9000 or wss://backend.internal
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEGATE_GUARD_UPSTREAM",
        required = true
    )]
    pub(super) upstream: Option<String>,

    /// What may pass (TOML); without it: strict protocol, limits, pages of the same origin only
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_POLICY")]
    pub(super) policy: Option<PathBuf>,

    /// Check the policy and the flags, say what is wrong with line and column, and exit (2 when it is)
    #[arg(long, env = "TIDEGATE_GUARD_CHECK_CONFIG")]
    pub(super) check_config: bool,

    /// Address to listen on: ADDR:PORT, localhost:PORT, or a PORT of 127.0.0.1; port 0 takes a free one
    /// [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_GUARD_LISTEN")]
    #[arg(value_parser = parse_listen)]
    pub(super) listen: Option<SocketAddr>,

    /// Address of the admin listener (health, metrics), or "off" [default: 127.0.0.1:8081, or a free port when
    /// --listen takes one]
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_GUARD_ADMIN")]
    #[arg(value_parser = parse_admin)]
    pub(super) admin: Option<AdminAddr>,

    /// What orders to the admin listener (reload, revoke, roles, tickets) must carry as Authorization: Bearer; without
    /// it they are refused. Give it by the variable: others can see flags
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TIDEGATE_GUARD_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub(super) admin_token: Option<String>,

    /// Worker threads, each with its own event loop [default: one per core]
    #[arg(long, value_name = "N", env = "TIDEGATE_GUARD_WORKERS")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(super) workers: Option<u16>,

    /// Speak https and wss with this certificate chain (PEM, the leaf first)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_TLS_CERT")]
    #[arg(requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM: PKCS#8, PKCS#1 or SEC1)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_TLS_KEY")]
    #[arg(requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,

    /// Let only clients in that show a certificate for which one of these roots vouches (PEM); the policy's source
    /// "certificate" makes its name their identity
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_TLS_CLIENT_CA")]
    #[arg(requires = "tls_cert")]
    pub(super) tls_client_ca: Option<PathBuf>,

    /// Whether a client must show such a certificate (require), or may come without (optional), where the policy decides;
    /// one that it does show must be good [default: require]
    #[arg(long, value_name = "HOW", env = "TIDEGATE_GUARD_TLS_CLIENT_AUTH")]
    #[arg(requires = "tls_client_ca")]
    pub(super) tls_client_auth: Option<ClientAuth>,

    /// Of those certificates, the ones that this list says are revoked come in no more (PEM; repeatable, one list for each
    /// root at least)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_TLS_CLIENT_CRL")]
    #[arg(requires = "tls_client_ca", value_delimiter = ',')]
    pub(super) tls_client_crl: Vec<PathBuf>,

    /// Trust these root certificates of a wss:// upstream instead of the system's (PEM)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD_UPSTREAM_CA")]
    pub(super) upstream_ca: Option<PathBuf>,

    /// Listen without TLS on an address that others can reach; WebSockets need allow_plain in the policy, too
    #[arg(long, env = "TIDEGATE_GUARD_ALLOW_PLAIN")]
    pub(super) allow_plain: bool,

    /// How long clients have to leave after SIGTERM or SIGINT. They are asked to (1012) one after the other, 1,000 a second,
    /// so that they do not all come back at once; many of them faster: within half of this, and 10 s [default: 30]
    #[arg(long, value_name = "SECONDS", env = "TIDEGATE_GUARD_DRAIN")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(super) drain: Option<u32>,

    /// How log lines look [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", env = "TIDEGATE_GUARD_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,

    /// Which log lines to write, such as info or warn,tidegate=debug; never payloads or query strings
    /// [default: info]
    #[arg(long, value_name = "FILTER", env = "TIDEGATE_GUARD_LOG")]
    pub(super) log: Option<String>,
}

/// Whether clients must show a certificate.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum ClientAuth {
    #[default]
    Require,
    Optional,
}

/// Below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate guard --upstream ws://127.0.0.1:9000
      The server on port 9000, protected, at ws://127.0.0.1:8080
  tidegate guard --upstream wss://backend.internal --policy guard.toml
      With routes, origins, limits and credentials of its own
  tidegate guard audit verify audit.jsonl
      Says whether a line of the audit file was changed, taken out or moved, and which
  tidegate guard --upstream ws://127.0.0.1:9000 --policy guard.toml --check-config
      Says what is wrong with a policy, with line and column

Without a policy: RFC 6455 to the letter on both sides, messages up to 64 KiB, budgets for control frames and
fragments, pages of the same origin only; requests that ask for no WebSocket pass to the same server.

Signals: SIGHUP reads the policy and the files of TLS again and keeps the old ones if one is wrong. SIGTERM and SIGINT let clients
leave for --drain seconds, then exit 0; a second one ends at once (143 and 130).
Exit codes: 0 done, 1 failed, 2 usage, 5 port taken.";
