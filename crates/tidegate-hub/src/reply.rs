//! What the hub says to a client: errors, disconnects, results. How they are spelled is the codec's.

use crate::history::{Recovery, Slice};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Position};
use std::fmt;
use std::sync::Arc;

/// A command was refused. The connection stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientError {
    /// The protocol's number.
    pub code: u16,
    /// For people.
    pub message: &'static str,
    /// Trying again later may work; clients do so by themselves.
    pub temporary: bool,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $message:literal, $temporary:literal;)*) => {
        impl ClientError {
            $($(#[$doc])* pub const $name: ClientError =
                ClientError { code: $code, message: $message, temporary: $temporary };)*
        }
    };
}

errors! {
    /// Something that should not happen did.
    INTERNAL = 100, "internal server error", true;
    /// Nobody may connect without a token.
    UNAUTHORIZED = 101, "unauthorized", false;
    /// The channel's namespace does not exist.
    UNKNOWN_CHANNEL = 102, "unknown channel", false;
    /// The channel's options do not let clients do this.
    PERMISSION_DENIED = 103, "permission denied", false;
    /// There is no such rpc method.
    METHOD_NOT_FOUND = 104, "method not found", false;
    /// The client is subscribed to this channel.
    ALREADY_SUBSCRIBED = 105, "already subscribed", false;
    /// One of the hub's limits is reached.
    LIMIT_EXCEEDED = 106, "limit exceeded", false;
    /// The command makes no sense.
    BAD_REQUEST = 107, "bad request", false;
    /// The channel, or this server, does not have what was asked for.
    NOT_AVAILABLE = 108, "not available", false;
    /// A worker is busy and took no more work.
    TOO_MANY_REQUESTS = 111, "too many requests", true;
    /// The history does not reach back to the position, or the position is from another epoch.
    UNRECOVERABLE_POSITION = 112, "unrecoverable position", false;
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ClientError {}

/// The connection ends, with this close code and reason. Below 3500 clients come back by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect {
    /// The WebSocket close code.
    pub code: u16,
    /// The close reason.
    pub reason: &'static str,
}

macro_rules! disconnects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        impl Disconnect {
            $($(#[$doc])* pub const $name: Disconnect =
                Disconnect { code: $code, reason: $reason };)*
        }
    };
}

disconnects! {
    /// The server goes down.
    SHUTDOWN = 3001, "shutdown";
    /// The client did not take its messages fast enough; its outbox is full.
    SLOW = 3008, "slow";
    /// The client did not answer a ping.
    NO_PONG = 3012, "no pong";
    /// A token came although none can be verified.
    INVALID_TOKEN = 3500, "invalid token";
    /// The client does not speak the protocol.
    BAD_REQUEST = 3501, "bad request";
    /// The client did not connect in time.
    STALE = 3502, "stale";
    /// A binary message came, but JSON is spoken.
    INAPPROPRIATE_PROTOCOL = 3506, "inappropriate protocol";
}

/// A subscription ends by the hub's will. From 2500 on clients subscribe again, and recover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsubscribed {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Unsubscribed {
    /// A publication did not reach the worker of this subscriber.
    pub(crate) const INSUFFICIENT_STATE: Unsubscribed = Unsubscribed {
        code: 2500,
        reason: "insufficient state",
    };
}

/// The result of a command.
#[derive(Clone, Debug)]
pub(crate) enum Reply<'a> {
    Connected(Connected<'a>),
    Subscribed(Subscribed),
    Unsubscribed,
    Published,
    Presence(Vec<Arc<ClientInfo>>),
    PresenceStats(PresenceStats),
    History(Slice),
    Pong,
    Rpc(&'a str),
    Error(ClientError),
}

/// The result of a connect command.
#[derive(Clone, Debug)]
pub(crate) struct Connected<'a> {
    pub(crate) client: &'a str,
    pub(crate) version: &'a str,
    pub(crate) session: &'a str,
    pub(crate) node: &'a str,
    pub(crate) ping_seconds: u64,
}

/// The result of a subscribe command.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    /// Where the channel stands; `None` where it keeps no history.
    pub(crate) position: Option<Position>,
    /// Whether a client may recover in this channel.
    pub(crate) recoverable: bool,
    /// The offset that the client named, with what came of it; `None` if it did not ask.
    pub(crate) recovery: Option<(u64, Recovery)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::CloseCode;

    #[test]
    fn every_disconnect_may_go_on_the_wire() {
        for disconnect in [
            Disconnect::SHUTDOWN,
            Disconnect::SLOW,
            Disconnect::NO_PONG,
            Disconnect::INVALID_TOKEN,
            Disconnect::BAD_REQUEST,
            Disconnect::STALE,
            Disconnect::INAPPROPRIATE_PROTOCOL,
        ] {
            assert!(CloseCode::new(disconnect.code).is_some(), "{disconnect:?}");
        }
    }
}
