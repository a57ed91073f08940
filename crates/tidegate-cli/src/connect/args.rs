//! The command line of `tidegate connect`; what its values mean together is decided in `plan`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What `tidegate connect` can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// ws:// or wss:// URL (http:// and https:// mean the same); user:password@ in it is Basic authorization
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Send this text and read no input (repeatable, in order)
    #[arg(short, long, value_name = "TEXT", help_heading = SENDING)]
    pub(crate) message: Vec<String>,

    /// Send this file as one message and read no input; - is all of stdin (repeatable, after --message)
    #[arg(short, long, value_name = "FILE", help_heading = SENDING)]
    pub(crate) file: Vec<PathBuf>,

    /// Send binary messages: files as they are, piped input in the pieces it comes in, lines as octets
    #[arg(short, long, env = "TIDEGATE_CONNECT_BINARY", help_heading = SENDING)]
    pub(crate) binary: bool,

    /// Read no input, only receive
    #[arg(short, long, conflicts_with_all = ["message", "file"], help_heading = SENDING)]
    pub(crate) listen: bool,

    /// Close after this many received messages; the exit code is 1 if fewer came
    #[arg(short = 'n', long, value_name = "N", help_heading = ENDING)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// The same as --count 1: one question, one answer
    #[arg(short = '1', long, conflicts_with = "count", help_heading = ENDING)]
    pub(crate) one: bool,

    /// After the end of the input, close once nothing has come for so long; "never" stays
    #[arg(
        short = 'w',
        long,
        value_name = "SECONDS",
        default_value = "1",
        env = "TIDEGATE_CONNECT_WAIT",
        help_heading = ENDING
    )]
    #[arg(value_parser = wait)]
    pub(crate) wait: Wait,

    /// Give up after so long in all, with exit code 124
    #[arg(long, value_name = "SECONDS", env = "TIDEGATE_CONNECT_TIMEOUT", help_heading = ENDING)]
    #[arg(value_parser = seconds)]
    pub(crate) timeout: Option<f64>,

    /// Connect anew when the connection breaks, after growing random waits
    #[arg(long, env = "TIDEGATE_CONNECT_RECONNECT", help_heading = ENDING)]
    pub(crate) reconnect: bool,

    /// Close with this code
    #[arg(long, value_name = "CODE", default_value_t = 1000, help_heading = ENDING)]
    pub(crate) close_code: u16,

    /// Close with this reason, at most 123 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, help_heading = ENDING)]
    pub(crate) close_reason: String,

    /// Send this header field along, as in "Name: value"; "Name: @FILE" reads the value (repeatable)
    #[arg(short = 'H', long, value_name = "FIELD", help_heading = HANDSHAKE)]
    pub(crate) header: Vec<String>,

    /// The Origin to send; programs need none
    #[arg(short, long, value_name = "ORIGIN", env = "TIDEGATE_CONNECT_ORIGIN", help_heading = HANDSHAKE)]
    pub(crate) origin: Option<String>,

    /// Offer this subprotocol (repeatable, the preferred one first)
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "TIDEGATE_CONNECT_PROTOCOL",
        value_delimiter = ',',
        help_heading = HANDSHAKE
    )]
    pub(crate) protocol: Vec<String>,

    /// Offer permessage-deflate (RFC 7692)
    #[arg(long, env = "TIDEGATE_CONNECT_DEFLATE", help_heading = HANDSHAKE)]
    pub(crate) deflate: bool,

    /// Speak this HTTP [default: as the server likes, over TLS; http/1.1 without]
    #[arg(long, value_name = "VERSION", env = "TIDEGATE_CONNECT_HTTP", help_heading = HANDSHAKE)]
    pub(crate) http: Option<HttpVersion>,

    /// How long all of connecting may take
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        env = "TIDEGATE_CONNECT_CONNECT_TIMEOUT",
        help_heading = HANDSHAKE
    )]
    #[arg(value_parser = seconds)]
    pub(crate) connect_timeout: f64,

    /// Basic authorization; @FILE reads it from a file
    #[arg(
        short,
        long,
        value_name = "USER:PASSWORD",
        env = "TIDEGATE_CONNECT_USER",
        hide_env_values = true,
        help_heading = ACCESS
    )]
    pub(crate) user: Option<String>,

    /// Bearer authorization; @FILE reads the token from a file
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TIDEGATE_CONNECT_BEARER",
        hide_env_values = true,
        conflicts_with = "user",
        help_heading = ACCESS
    )]
    pub(crate) bearer: Option<String>,

    /// Trust these root certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONNECT_CACERT", help_heading = ACCESS)]
    pub(crate) cacert: Option<PathBuf>,

    /// Show this client certificate (PEM, the leaf first)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONNECT_CERT", requires = "key", help_heading = ACCESS)]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of --cert (PEM)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONNECT_KEY", requires = "cert", help_heading = ACCESS)]
    pub(crate) key: Option<PathBuf>,

    /// Trust any certificate: whoever sits in between can read and change everything
    #[arg(short = 'k', long, env = "TIDEGATE_CONNECT_INSECURE", help_heading = ACCESS)]
    pub(crate) insecure: bool,

    /// HTTP proxy, as http://[user:password@]host:port [default: the environment's, as with curl]
    #[arg(
        short = 'x',
        long,
        value_name = "URL",
        env = "TIDEGATE_CONNECT_PROXY",
        hide_env_values = true,
        help_heading = ACCESS
    )]
    pub(crate) proxy: Option<String>,

    /// Use no proxy, whatever the environment says
    #[arg(long, env = "TIDEGATE_CONNECT_NO_PROXY", conflicts_with = "proxy", help_heading = ACCESS)]
    pub(crate) no_proxy: bool,

    /// Ping after so much silence; 0 never pings
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "25",
        env = "TIDEGATE_CONNECT_PING_INTERVAL",
        help_heading = LIMITS
    )]
    #[arg(value_parser = seconds)]
    pub(crate) ping_interval: f64,

    /// Longest message to take, in MiB
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 64,
        env = "TIDEGATE_CONNECT_MAX_MESSAGE",
        help_heading = LIMITS
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) max_message: u16,

    /// One JSON object a line on stdout for all that happens
    #[arg(long, env = "TIDEGATE_CONNECT_JSON", help_heading = SHOWING)]
    pub(crate) json: bool,

    /// How binary messages are written [default: hex on a terminal, raw otherwise]
    #[arg(long, value_name = "FORM", env = "TIDEGATE_CONNECT_SHOW_BINARY", help_heading = SHOWING)]
    pub(crate) show_binary: Option<BinaryForm>,

    /// Draw the handshake and each frame on stderr; secrets are left out
    #[arg(long, env = "TIDEGATE_CONNECT_INSPECT", help_heading = SHOWING)]
    pub(crate) inspect: bool,

    /// Say on stderr how the connection came and went, also when nobody sits at a terminal
    #[arg(short, long, env = "TIDEGATE_CONNECT_VERBOSE", help_heading = SHOWING)]
    pub(crate) verbose: bool,

    /// Colours [default: auto, as NO_COLOR and CLICOLOR_FORCE say]
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        env = "TIDEGATE_CONNECT_COLOR",
        help_heading = SHOWING
    )]
    pub(crate) color: Color,
}

/// How long to stay after the input's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wait {
    /// Until nothing has come for so many seconds.
    Quiet(f64),
    /// Until the server closes.
    Never,
}

/// How received octets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BinaryForm {
    /// As they are, with nothing in between.
    Raw,
    /// A hex dump.
    Hex,
    /// One line of base64 a message.
    Base64,
}

/// Which HTTP carries the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpVersion {
    /// An upgrade (RFC 6455).
    #[value(name = "1.1", alias = "1")]
    One,
    /// An extended CONNECT (RFC 8441).
    #[value(name = "2")]
    Two,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals.
    Auto,
    /// Also in files.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// Whether to colour what goes to a stream that is a terminal, or none.
    pub(crate) fn is_on(self, is_terminal: bool) -> bool {
        let set =
            |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR") => false,
            Color::Auto => set("CLICOLOR_FORCE") || is_terminal,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    match (0.0..=31_536_000.0).contains(&number) {
        true => Ok(number),
        false => Err("expected 0 to 31536000 seconds".into()),
    }
}

fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "never" => Ok(Wait::Never),
        _ => seconds(text).map(Wait::Quiet),
    }
}

const SENDING: &str = "What to send";
const ENDING: &str = "When to end";
const HANDSHAKE: &str = "Handshake";
const ACCESS: &str = "Access";
const LIMITS: &str = "Connection";
const SHOWING: &str = "What to show";

/// Stands below `tidegate connect --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate connect wss://example.com/chat
      At a terminal: a line you type is a message; what comes appears above; /help lists commands
  echo hi | tidegate connect -1 ws://127.0.0.1:8000/echo
      One question, one answer
  tidegate connect -l --json --reconnect wss://example.com/feed | jq .text
      All that comes, one JSON object a line, over broken connections too
  tidegate connect -f photo.jpg -b -1 wss://example.com/upload -H 'Authorization: @token.txt'
      A file as one binary message, with a secret that stands in no process list
  tidegate connect --inspect -m hello -1 wss://example.com/
      The handshake and the frames on stderr

Input: at a terminal lines are edited and / begins a command (// sends a /). Piped text is sent line by line,
without the line ends; with --binary in the pieces it comes in. At its end the connection is closed once the
server has been quiet for --wait seconds.
Output: messages on stdout, text with a line end after it; all else on stderr.
Secrets are best given as @FILE or in the environment: other users can see command lines.

Exit codes: 0 done, 1 failed (the server closed with an error, fewer messages than --count), 2 usage, 3 could
not connect, 4 the server broke the protocol, 124 --timeout, 130 interrupted.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_numbers_or_never() {
        assert_eq!(wait("never"), Ok(Wait::Never));
        assert_eq!(wait("0.5"), Ok(Wait::Quiet(0.5)));
        for bad in ["", "-1", "NaN", "inf", "1s", "1e99"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }
}
