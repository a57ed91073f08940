//! The command line of `tidegate bench`; what its values mean together is decided in `plan`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What `tidegate bench` can be told. No flag has an environment variable: what was measured stands on the command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// The kinds of load.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Mode {
    /// Messages to a server that sends them back: how fast, how late, how dear
    #[command(after_help = ECHO_EXAMPLES)]
    Echo {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
    },
    /// One connection publishes, all receive
    #[command(after_help = FANOUT_EXAMPLES)]
    Fanout {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
        /// What to speak with the server
        #[arg(long, value_name = "DIALECT", default_value = "raw", help_heading = LOAD)]
        dialect: DialectName,
        /// The channel of the dialects that have channels [default: one with a random name]
        #[arg(long, value_name = "NAME", help_heading = LOAD)]
        channel: Option<String>,
    },
    /// Connections that are opened and closed again; --connections is how many at once
    Handshake {
        #[command(flatten)]
        common: Common,
    },
    /// Connections that say nothing: what each costs in memory
    Idle {
        #[command(flatten)]
        common: Common,
        /// Send each connection one message of so many bytes first and await its echo; 0 sends none
        #[arg(short, long, value_name = "BYTES", default_value_t = 125, help_heading = LOAD)]
        #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_SIZE))]
        size: u32,
        /// Binary messages [default: text]
        #[arg(short, long, help_heading = LOAD)]
        binary: bool,
    },
    /// As many messages as the server takes, one way
    Flood {
        #[command(flatten)]
        common: Common,
        /// Bytes of a message
        #[arg(short, long, value_name = "BYTES", default_value_t = 125, help_heading = LOAD)]
        #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_SIZE))]
        size: u32,
        /// Binary messages [default: text]
        #[arg(short, long, help_heading = LOAD)]
        binary: bool,
    },
    /// Is WebSocket faster and cheaper than HTTP? The same updates by WebSocket, SSE, long polling and polling
    VsHttp(VsHttp),
    /// The other end of vs-http: ends with its standard input
    #[command(hide = true)]
    VsHttpServer {
        /// Nanoseconds between two updates
        #[arg(value_parser = clap::value_parser!(u64).range(1_000..))]
        every: u64,
        /// Bytes of an update
        size: u32,
    },
}

/// What `vs-http` can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct VsHttp {
    /// How many clients
    #[arg(short, long, value_name = "N", default_value_t = 100, help_heading = LOAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) clients: u32,

    /// Updates a second; each client gets each
    #[arg(short, long, value_name = "N", default_value = "10", help_heading = LOAD)]
    #[arg(value_parser = updates)]
    pub(crate) rate: f64,

    /// Bytes of an update
    #[arg(short, long, value_name = "BYTES", default_value_t = 100, help_heading = LOAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) size: u32,

    /// How often a client polls
    #[arg(short, long, value_name = "MILLISECONDS", default_value = "250", help_heading = LOAD)]
    #[arg(value_parser = interval)]
    pub(crate) interval: f64,

    /// How long to measure each way
    #[arg(short, long, value_name = "SECONDS", default_value = "5", help_heading = LOAD)]
    #[arg(value_parser = seconds)]
    pub(crate) duration: f64,

    /// How long each way runs before it is measured
    #[arg(short, long, value_name = "SECONDS", default_value = "1", help_heading = LOAD)]
    #[arg(value_parser = seconds)]
    pub(crate) warmup: f64,

    /// Give up when a way has not brought every client an update by then (exit code 124)
    #[arg(long, value_name = "SECONDS", default_value = "30", help_heading = BOUNDS)]
    #[arg(value_parser = seconds)]
    pub(crate) timeout: f64,

    /// One JSON document on stdout instead of a table
    #[arg(long, help_heading = SHOWING)]
    pub(crate) json: bool,

    /// Write a page with the latency plot too
    #[arg(long, value_name = "FILE", help_heading = SHOWING)]
    pub(crate) html: Option<PathBuf>,

    /// Do not say on a terminal what is being measured
    #[arg(short, long, help_heading = SHOWING)]
    pub(crate) quiet: bool,
}

/// What every load needs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// ws:// or wss:// URL
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// How many connections [default: echo 100, fanout 1000, handshake 32, idle 1000, flood 8]
    #[arg(short, long, value_name = "N", help_heading = LOAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,

    /// How long to measure (idle: how long to hold the connections)
    #[arg(short, long, value_name = "SECONDS", default_value = "5", help_heading = LOAD)]
    #[arg(value_parser = seconds)]
    pub(crate) duration: f64,

    /// How long the load runs before anything is measured
    #[arg(short, long, value_name = "SECONDS", default_value = "1", help_heading = LOAD)]
    #[arg(value_parser = seconds)]
    pub(crate) warmup: f64,

    /// Offer permessage-deflate, each message by itself; "takeover" lets messages refer back to earlier ones
    #[arg(
        long,
        value_name = "HOW",
        num_args = 0..=1,
        default_missing_value = "shared",
        require_equals = true,
        help_heading = CONNECTION
    )]
    pub(crate) deflate: Option<DeflateHow>,

    /// Send this header field along, as in "Name: value"; "Name: @FILE" reads the value (repeatable)
    #[arg(short = 'H', long, value_name = "FIELD", help_heading = CONNECTION)]
    pub(crate) header: Vec<String>,

    /// Trust these root certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust any certificate
    #[arg(short = 'k', long, help_heading = CONNECTION)]
    pub(crate) insecure: bool,

    /// Load a server that is not on this machine. Only ever one you may do that to
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) i_am_authorized: bool,

    /// Give up once the server has been silent for so long while something is awaited (exit code 124)
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = BOUNDS)]
    #[arg(value_parser = seconds)]
    pub(crate) timeout: f64,

    /// Give up when the connections are not all open by then (exit code 124)
    #[arg(long, value_name = "SECONDS", default_value = "60", help_heading = BOUNDS)]
    #[arg(value_parser = seconds)]
    pub(crate) connect_timeout: f64,

    /// Stop after so many GiB on the wire, both ways together
    #[arg(long, value_name = "GIB", default_value_t = 1024, help_heading = BOUNDS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_gib: u32,

    /// The server's process, to tell its CPU time and memory [default: whoever listens on the URL's port,
    /// when that is on this machine and may be looked at]
    #[arg(long, value_name = "PID", help_heading = SHOWING)]
    pub(crate) server_pid: Option<u32>,

    /// One JSON document on stdout instead of a table
    #[arg(long, help_heading = SHOWING)]
    pub(crate) json: bool,

    /// Write a page with the latency plot too
    #[arg(long, value_name = "FILE", help_heading = SHOWING)]
    pub(crate) html: Option<PathBuf>,

    /// No progress bar
    #[arg(short, long, help_heading = SHOWING)]
    pub(crate) quiet: bool,
}

/// What is sent, for loads that await something for each message.
#[derive(Args, Clone, Debug)]
pub(crate) struct Messages {
    /// Bytes of a message
    #[arg(short, long, value_name = "BYTES", default_value_t = 125, help_heading = LOAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_SIZE))]
    pub(crate) size: u32,

    /// Binary messages [default: text]
    #[arg(short, long, help_heading = LOAD)]
    pub(crate) binary: bool,

    /// Messages under way at once: on each connection, or for the publisher
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = LOAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) depth: u32,

    /// Messages a second in all, at fixed times; latency then counts from when a message was due
    /// [default: each when an earlier one is done]
    #[arg(long, value_name = "N", help_heading = LOAD)]
    #[arg(value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// What publisher and subscribers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectName {
    /// What one connection sends, the server sends to all of that path
    Raw,
    /// Centrifuge's client protocol in JSON: `tidegate serve` at /connection/websocket
    CentrifugeJson,
    /// The same in protobuf
    CentrifugeProtobuf,
    /// Socket.IO 5, at /socket.io/?EIO=4&transport=websocket; the channel is the name of an event that the
    /// server's program sends to all [default: broadcast]
    Socketio,
    /// NATS, at its WebSocket port
    Nats,
}

impl DialectName {
    /// As on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DialectName::Raw => "raw",
            DialectName::CentrifugeJson => "centrifuge-json",
            DialectName::CentrifugeProtobuf => "centrifuge-protobuf",
            DialectName::Socketio => "socketio",
            DialectName::Nats => "nats",
        }
    }
}

impl DeflateHow {
    /// As on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DeflateHow::Shared => "shared",
            DeflateHow::Takeover => "takeover",
        }
    }
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeflateHow {
    /// Each message by itself.
    Shared,
    /// With a context of 32 KiB on each connection, both ways.
    Takeover,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    match (0.0..=3_600.0).contains(&number) {
        true => Ok(number),
        false => Err("expected 0 to 3600 seconds".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number")?;
    match (0.001..=1e8).contains(&number) {
        true => Ok(number),
        false => Err("expected 0.001 to 100000000 messages a second".into()),
    }
}

fn updates(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number")?;
    match (0.1..=1e4).contains(&number) {
        true => Ok(number),
        false => Err("expected 0.1 to 10000 updates a second".into()),
    }
}

fn interval(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number")?;
    match (1.0..=60_000.0).contains(&number) {
        true => Ok(number),
        false => Err("expected 1 to 60000 milliseconds".into()),
    }
}

/// Longest message.
const MAX_SIZE: i64 = 64 << 20;

const LOAD: &str = "Load";
const CONNECTION: &str = "Connection";
const BOUNDS: &str = "Bounds";
const SHOWING: &str = "What to show";

/// Stands below `tidegate bench --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate bench echo ws://127.0.0.1:8000/echo
      100 connections, each with one message of 125 bytes under way
  tidegate bench echo --depth 64 --json ws://127.0.0.1:8000/echo
      The same with 64 under way on each, and a document for programs
  tidegate bench fanout --dialect centrifuge-json -c 10000 ws://127.0.0.1:8000/connection/websocket
      One publishes, ten thousand subscribers receive
  tidegate bench idle -c 18000 ws://127.0.0.1:8000/echo
      What a connection that says nothing costs in the server's memory
  tidegate bench vs-http
      The same live data by WebSocket and four ways of HTTP, side by side

The load is one thread. Results go to stdout, everything else to stderr.
Only this machine is loaded unless --i-am-authorized says otherwise.
Exit codes: 0 done, 1 failed (messages lost), 2 usage, 3 could not connect, 4 the server broke the protocol or its
connections, 124 it was silent for too long, 130 interrupted.";

const ECHO_EXAMPLES: &str = "\
Examples:
  tidegate bench echo ws://127.0.0.1:8000/echo
  tidegate bench echo -c 1000 --rate 20000 -d 30 --html echo.html ws://127.0.0.1:8000/echo
      20,000 messages a second at fixed times: a server that pauses is not forgiven";

const FANOUT_EXAMPLES: &str = "\
Examples:
  tidegate bench fanout -c 1000 -s 64 ws://127.0.0.1:9001/broadcast
  tidegate bench fanout --dialect centrifuge-json ws://127.0.0.1:8000/connection/websocket

Connections are subscribers; the first one publishes and receives too.";
