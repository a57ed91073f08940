//! The command line as clap reads it; what its values mean together is decided in `settings`.

use crate::bench::{BenchArgs, EXAMPLES as BENCH_EXAMPLES};
use crate::check::{CheckArgs, EXAMPLES as CHECK_EXAMPLES};
use crate::connect::{ConnectArgs, EXAMPLES as CONNECT_EXAMPLES};
use crate::error::{Exit, Failure};
use crate::guard::{EXAMPLES as GUARD_EXAMPLES, GuardArgs};
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// WebSocket as a whole: a realtime server on its own implementation of the protocol.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, long_version = LONG_VERSION, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands there are.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve the realtime hub, the echo and the demo page
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Connect to a WebSocket server, at a prompt or in a pipe
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(ConnectArgs),
    /// Load a WebSocket server and measure what it does
    #[command(after_help = BENCH_EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
    Bench(BenchArgs),
    /// Protect a WebSocket server: a gateway in front of it
    #[command(after_help = GUARD_EXAMPLES)]
    Guard(GuardArgs),
    /// Audit a WebSocket endpoint: what it lets through that it should not
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
}

/// What `tidegate serve` can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); flags and environment variables override what it says
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Check the configuration, the flags and the environment, say what is wrong, and exit (2 when it is)
    #[arg(long, env = "TIDEGATE_CHECK_CONFIG")]
    pub(crate) check_config: bool,

    /// Address to listen on: ADDR:PORT, localhost:PORT, or a PORT of 127.0.0.1; port 0 takes a free one
    /// [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_LISTEN")]
    #[arg(value_parser = parse_listen)]
    pub(crate) listen: Option<SocketAddr>,

    /// Address of the admin listener (health, metrics, admin page), or "off" [default: 127.0.0.1:8001, or a
    /// free port when --listen takes one]
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_ADMIN")]
    #[arg(value_parser = parse_admin)]
    pub(crate) admin: Option<AdminAddr>,

    /// Worker threads, each with its own event loop [default: one per core]
    #[arg(long, value_name = "N", env = "TIDEGATE_WORKERS")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,

    /// Serve https and wss with this certificate chain (PEM, the leaf first)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM: PKCS#8, PKCS#1 or SEC1)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Serve https and wss with a self-signed certificate for localhost, made anew at each start
    #[arg(long, env = "TIDEGATE_DEV_CERT", conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(crate) dev_cert: bool,

    /// Pages of this origin may connect too, such as https://app.example (repeatable)
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "TIDEGATE_ORIGIN",
        value_delimiter = ','
    )]
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "any_origin")]
    pub(crate) origin: Vec<String>,

    /// Pages of every origin may connect; without tokens this opens the hub to any web page
    #[arg(long, env = "TIDEGATE_ANY_ORIGIN")]
    pub(crate) any_origin: bool,

    /// Answer to this Host too, beside localhost and loopback addresses (repeatable)
    #[arg(
        long,
        value_name = "NAME",
        env = "TIDEGATE_HOST",
        value_delimiter = ','
    )]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) host: Vec<String>,

    /// Listen without TLS on an address that others can reach
    #[arg(long, env = "TIDEGATE_ALLOW_PLAIN")]
    pub(crate) allow_plain: bool,

    /// Put a guard before the hub's WebSockets, with this policy (TOML, as tidegate guard has it): it decides on hosts,
    /// pages, paths and what clients may say; what the hub sends them, and what comes by the HTTP API, is not judged
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GUARD")]
    pub(crate) guard: Option<PathBuf>,

    /// Development mode on an address that others can reach; on loopback it is always on
    #[arg(long, env = "TIDEGATE_DEV")]
    pub(crate) dev: bool,

    /// Publish in this channel what that WebSocket server sends; connects again when it breaks (repeatable;
    /// separated by spaces in the environment)
    #[arg(
        long,
        value_name = "CHANNEL=URL",
        env = "TIDEGATE_FEED",
        value_delimiter = ' '
    )]
    pub(crate) feed: Vec<String>,

    /// Send this text to a feed on each connection, say a subscription (repeatable; one in the environment)
    #[arg(long, value_name = "CHANNEL=TEXT", env = "TIDEGATE_FEED_HELLO")]
    pub(crate) feed_hello: Vec<String>,

    /// How long clients have to leave after SIGTERM or SIGINT; they are asked to one after the other, within half of this
    /// ([drain] of --config) [default: 30]
    #[arg(long, value_name = "SECONDS", env = "TIDEGATE_DRAIN")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) drain: Option<u32>,

    /// How log lines look [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", env = "TIDEGATE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Which log lines to write, such as info or warn,tidegate=debug; never payloads or query strings
    /// [default: info]
    #[arg(long, value_name = "FILTER", env = "TIDEGATE_LOG")]
    pub(crate) log: Option<String>,
}

/// What `--admin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddr {
    /// No admin listener.
    Off,
    /// Listen there.
    On(SocketAddr),
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads what [`parse_listen`] reads, or `off`.
pub(crate) fn parse_admin(text: &str) -> Result<AdminAddr, String> {
    match text {
        "off" => Ok(AdminAddr::Off),
        _ => parse_listen(text).map(AdminAddr::On),
    }
}

/// Reads `ADDR:PORT`, `localhost:PORT` or `PORT`.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let loopback = |port: &str| {
        let port = port.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    text.parse()
        .ok()
        .or_else(|| loopback(text.strip_prefix("localhost:").unwrap_or(text)))
        .ok_or_else(|| {
            "expected an address and a port, such as 127.0.0.1:8000 or [::1]:8000".into()
        })
}

/// Help and version go to stdout with exit code 0; anything else is one line on stderr and exit code 2.
pub(crate) fn answer_parse_error(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(Exit::Usage as u8)
        }
        _ => crate::report(&Failure::usage(one_line(&error.to_string()))),
    }
}

/// clap's message, its tip if it has one, and where to read more, without line breaks.
fn one_line(message: &str) -> String {
    let said = message.split("\n\nUsage:").next().unwrap_or(message);
    let said = said.split("\n\nFor more").next().unwrap_or(said);
    let paragraphs: Vec<String> = said.split("\n\n").map(one_spaced).collect();
    let line = paragraphs.join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line} (see {} --help)", asked_for())
}

/// Whose help to read.
fn asked_for() -> &'static str {
    match std::env::args().nth(1).as_deref() {
        Some("connect") => "tidegate connect",
        Some("bench") => "tidegate bench",
        Some("guard") => "tidegate guard",
        Some("check") => "tidegate check",
        _ => "tidegate serve",
    }
}

fn one_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nTLS: rustls with aws-lc-rs");

const EXAMPLES: &str = "\
Examples:
  tidegate serve               the demo page and the hub on http://127.0.0.1:8000/
  tidegate serve --dev-cert    the same over https and wss
  tidegate connect URL         a client, at a prompt or in a pipe
  tidegate bench echo URL      how fast, how late and how dear an echo is
  tidegate guard --upstream URL    a gateway that protects a WebSocket server
  tidegate check URL           what an endpoint lets through that it should not
  tidegate serve --help        all options";

const SERVE_EXAMPLES: &str = "\
Examples:
  tidegate serve
      The demo page, the hub and the echo on http://127.0.0.1:8000/
  tidegate serve --listen 127.0.0.1:0 --workers 4
      Four workers on a free port; the URL is printed on stdout
  tidegate serve --dev-cert
      https and wss with a certificate for localhost that no browser trusts by itself
  tidegate serve --config tidegate.toml --check-config
      Says what is wrong with a configuration, with line and column
  tidegate serve --config tidegate.toml
      As it would run in production: tokens, namespaces, API keys

  tidegate serve --feed ticks=wss://feed.example/ws --feed-hello 'ticks={\"op\":\"subscribe\"}'
      What another server sends, for any number of clients

Addresses:
  /                           the demo page; an upgrade there is an echo, as at /echo
  /connection/websocket       the hub, for Centrifuge clients
  /channels/NAME/latest       the newest publication of a channel over plain HTTP
  /channels/NAME/history      what a channel remembers: ?since=OFFSET&epoch=EPOCH&limit=N
  /api/METHOD                 the HTTP API, with an API key
  admin listener              /healthz /readyz /metrics /version, and the admin page

Environment: every flag has its variable, shown above. A key of the configuration file has one with two
underscores: TIDEGATE_TOKENS__HMAC_SECRET is hmac_secret in [tokens].

Signals: SIGHUP reads the configuration again and keeps the old one if it is wrong. SIGTERM and SIGINT let
clients leave for --drain seconds, then exit 0; a second one ends at once (143 and 130).
Exit codes: 0 done, 1 failed, 2 usage, 5 port taken.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_serve_has_an_environment_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("there is a serve");
        for arg in serve
            .get_arguments()
            .filter(|a| a.get_long() != Some("help"))
        {
            let long = arg.get_long().expect("every argument is a flag");
            let expected = format!("TIDEGATE_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(
                arg.get_env().and_then(|v| v.to_str()),
                Some(expected.as_str())
            );
        }
    }

    #[test]
    fn addresses_are_read_in_three_spellings() {
        let rows = [
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:8000", Some("[::1]:8000")),
            ("localhost:9", Some("127.0.0.1:9")),
            ("8080", Some("127.0.0.1:8080")),
            ("localhost", None),
            ("example.com:80", None),
            ("127.0.0.1:65536", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let got = parse_listen(text).ok().map(|a| a.to_string());
            assert_eq!(got.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_parse_error_is_one_line() {
        let error = Cli::try_parse_from(["tidegate", "serve", "--lisen", "8000"]).unwrap_err();
        let line = one_line(&error.to_string());
        assert!(!line.contains('\n'), "{line}");
        assert!(line.starts_with("unexpected argument '--lisen'"), "{line}");
        assert!(line.contains("--listen"), "the tip stays: {line}");
    }
}
