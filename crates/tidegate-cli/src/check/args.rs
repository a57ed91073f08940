//! The command line of `tidegate check`; what its values mean together is decided in `plan`.

use super::rules::Severity;
use crate::connect::Color;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What `tidegate check` can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// ws:// or wss:// URL of the endpoint (http:// and https:// mean the same)
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// How far to go; each level includes the ones before it
    #[arg(long, value_name = "LEVEL", default_value = "protocol", env = "TIDEGATE_CHECK_LEVEL", help_heading = WHAT)]
    pub(crate) level: Level,

    /// Check this URL too and show both side by side: direct and through a guard, before and after
    #[arg(long, value_name = "URL", help_heading = WHAT)]
    pub(crate) diff: Option<String>,

    /// Only look for these findings, such as F1 or H6.bad-key (repeatable); no grade is given then
    #[arg(long, value_name = "ID", value_delimiter = ',', env = "TIDEGATE_CHECK_ONLY", help_heading = WHAT)]
    pub(crate) only: Vec<String>,

    /// The endpoint is not on this machine, and its owner has agreed to this check
    #[arg(long, env = "TIDEGATE_CHECK_I_AM_AUTHORIZED", help_heading = WHAT)]
    pub(crate) i_am_authorized: bool,

    /// Send this header field along, as in "Name: value"; "Name: @FILE" reads the value (repeatable)
    #[arg(short = 'H', long, value_name = "FIELD", help_heading = HANDSHAKE)]
    pub(crate) header: Vec<String>,

    /// An Origin that the endpoint accepts; for endpoints that accept no request without one
    #[arg(short, long, value_name = "ORIGIN", env = "TIDEGATE_CHECK_ORIGIN", help_heading = HANDSHAKE)]
    pub(crate) origin: Option<String>,

    /// Offer this subprotocol (repeatable); for endpoints that want one
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "TIDEGATE_CHECK_PROTOCOL",
        value_delimiter = ',',
        help_heading = HANDSHAKE
    )]
    pub(crate) protocol: Vec<String>,

    /// Trust any certificate
    #[arg(short = 'k', long, env = "TIDEGATE_CHECK_INSECURE", help_heading = HANDSHAKE)]
    pub(crate) insecure: bool,

    /// Trust these root certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CHECK_CACERT", help_heading = HANDSHAKE)]
    pub(crate) cacert: Option<PathBuf>,

    /// Give up after so long in all, show what was found, and exit with 124
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        env = "TIDEGATE_CHECK_TIMEOUT",
        help_heading = BOUNDS
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) timeout: u32,

    /// How long an answer may take; asked a second time, twice as long
    #[arg(
        long,
        value_name = "MILLISECONDS",
        default_value_t = 2_000,
        env = "TIDEGATE_CHECK_PATIENCE",
        help_heading = BOUNDS
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(50..=60_000))]
    pub(crate) patience: u32,

    /// How long a request may stay unfinished before that is a finding
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 12,
        env = "TIDEGATE_CHECK_WAIT",
        help_heading = BOUNDS
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) wait: u32,

    /// Rest between two connections [default: 0 on this machine, 100 elsewhere]
    #[arg(long, value_name = "MILLISECONDS", env = "TIDEGATE_CHECK_PAUSE", help_heading = BOUNDS)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) pause: Option<u32>,

    /// Longest message to try; that it is accepted is a finding
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 32,
        env = "TIDEGATE_CHECK_MAX_MESSAGE",
        help_heading = BOUNDS
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) max_message: u16,

    /// Octets to send in all; what would go beyond is not asked [default: 512 to this machine, 64 elsewhere]
    #[arg(long, value_name = "MIB", env = "TIDEGATE_CHECK_MAX_BYTES", help_heading = BOUNDS)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) max_bytes: Option<u16>,

    /// Connections to hold open at once while looking for a limit
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        env = "TIDEGATE_CHECK_MAX_CONNS",
        help_heading = BOUNDS
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) max_conns: u16,

    /// One JSON document on stdout
    #[arg(long, env = "TIDEGATE_CHECK_JSON", help_heading = SHOWING)]
    pub(crate) json: bool,

    /// Write the findings to this file as SARIF 2.1.0; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "diff", env = "TIDEGATE_CHECK_SARIF", help_heading = SHOWING)]
    pub(crate) sarif: Option<PathBuf>,

    /// Exit with 1 when a finding is at least so severe
    #[arg(
        long,
        value_name = "SEVERITY",
        default_value = "low",
        env = "TIDEGATE_CHECK_FAIL_ON",
        help_heading = SHOWING
    )]
    pub(crate) fail_on: FailOn,

    /// Show each request and answer behind a finding, not just the first
    #[arg(short, long, env = "TIDEGATE_CHECK_VERBOSE", help_heading = SHOWING)]
    pub(crate) verbose: bool,

    /// Colours [default: auto, as NO_COLOR and CLICOLOR_FORCE say]
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        env = "TIDEGATE_CHECK_COLOR",
        help_heading = SHOWING
    )]
    pub(crate) color: Color,
}

/// How far to go. What an application's own session and messages let through would be a level after these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// One good handshake, looked at.
    Passive,
    /// Some sixty requests, most of them bad.
    Handshake,
    /// Some fifty connections with bad frames, and a search for the limits.
    Protocol,
}

impl Level {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Passive => "passive",
            Level::Handshake => "handshake",
            Level::Protocol => "protocol",
        }
    }
}

/// What `--fail-on` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Anything that was remarked.
    Info,
    /// Low or worse.
    Low,
    /// Medium or worse.
    Medium,
    /// High or worse.
    High,
    /// The worst only.
    Critical,
    /// Exit with 0 whatever was found.
    Never,
}

impl FailOn {
    /// The least severity that counts.
    pub(crate) fn least(self) -> Option<Severity> {
        match self {
            FailOn::Info => Some(Severity::Info),
            FailOn::Low => Some(Severity::Low),
            FailOn::Medium => Some(Severity::Medium),
            FailOn::High => Some(Severity::High),
            FailOn::Critical => Some(Severity::Critical),
            FailOn::Never => None,
        }
    }
}

const WHAT: &str = "What to check";
const HANDSHAKE: &str = "Handshake";
const BOUNDS: &str = "Bounds";
const SHOWING: &str = "What to show";

/// Stands below `tidegate check --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate check ws://127.0.0.1:8000/echo
      All levels: some two hundred connections, a table of what was found, a grade
  tidegate check wss://localhost:8443/chat -k -H 'Authorization: @token.txt' --origin https://app.example
      An endpoint that wants a token and an Origin, with a certificate of its own
  tidegate check ws://127.0.0.1:9000/ --diff ws://127.0.0.1:8080/
      The same API direct and through a guard, side by side
  tidegate check wss://staging.example/ws --i-am-authorized --level handshake --sarif check.sarif --fail-on high
      In a pipeline, against a host of one's own
  tidegate check ws://127.0.0.1:8000/echo --json | jq '.findings[].id'

Levels: passive looks at one good handshake; handshake asks some sixty bad ones; protocol sends bad frames over some
fifty connections and looks for the limits (message, frame, fragments, pings, messages, connections).
Findings: what breaks the RFC, or a default that the finding states. What cannot be told, say because the server
closed before an answer, is counted as inconclusive and is no finding. What may be timing is asked twice.
Grades: A nothing above info, B low, C medium, D one or two high, E three or more high, F critical.
No request does harm to a server that keeps to its limits, but one that does not may be slow or fall over while it is
checked: so hosts other than this machine need --i-am-authorized. Secrets are left out of all that is shown.

Exit codes: 0 nothing as severe as --fail-on, 1 findings, 2 usage, 3 could not connect or was refused, 4 no WebSocket
server, 124 --timeout, 130 interrupted.";
