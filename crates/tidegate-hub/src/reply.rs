//! What the hub says to a client: errors, disconnects, results. How they are spelled is the codec's.

use crate::history::{Recovery, Slice};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Position, Publication, RawJson};
use crate::topic::TopicName;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tidegate_proto::Time;

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
    /// The token was good once; the client asks its application for another.
    TOKEN_EXPIRED = 109, "token expired", false;
    /// A worker is busy and took no more work, or the client is faster than it may be.
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

/// The connection ends, with this close code and reason. Below 3500, and from 4000 to 4499, clients come
/// back by themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disconnect {
    /// The WebSocket close code: 3000 to 4999.
    pub code: u16,
    /// The close reason, at most 123 bytes.
    pub reason: Cow<'static, str>,
}

macro_rules! disconnects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        impl Disconnect {
            $($(#[$doc])* pub const $name: Disconnect =
                Disconnect { code: $code, reason: Cow::Borrowed($reason) };)*

            /// Every disconnect that has a name.
            pub const ALL: &'static [Disconnect] = &[$(Disconnect::$name,)*];
        }
    };
}

disconnects! {
    /// The server goes down.
    SHUTDOWN = 3001, "shutdown";
    /// The token that the client connected with has expired, and no new one came.
    EXPIRED = 3005, "connection expired";
    /// The client did not take its messages fast enough; its outbox is full.
    SLOW = 3008, "slow";
    /// A channel that the server subscribed the client to has lost something on the way to its worker; the
    /// client comes back and recovers. (For a channel of its own it is unsubscribed with 2500.)
    INSUFFICIENT_STATE = 3010, "insufficient state";
    /// The control plane wants the client to connect anew.
    RECONNECT = 3011, "force reconnect";
    /// The client did not answer a ping.
    NO_PONG = 3012, "no pong";
    /// The token is none of ours, or was revoked.
    INVALID_TOKEN = 3500, "invalid token";
    /// The client does not speak the protocol.
    BAD_REQUEST = 3501, "bad request";
    /// The client did not connect in time.
    STALE = 3502, "stale";
    /// The control plane wants the client to go.
    FORCED = 3503, "force disconnect";
    /// A binary message came where JSON is spoken, or text where protobuf is.
    INAPPROPRIATE_PROTOCOL = 3506, "inappropriate protocol";
}

/// A subscription ends by the hub's will. From 2500 on clients subscribe again, and recover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsubscribed {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Unsubscribed {
    /// The control plane wants it so.
    const SERVER: Unsubscribed = Unsubscribed {
        code: 2000,
        reason: "server unsubscribe",
    };
    /// A publication did not reach the worker of this subscriber.
    pub(crate) const INSUFFICIENT_STATE: Unsubscribed = Unsubscribed {
        code: 2500,
        reason: "insufficient state",
    };
    /// The subscription token has expired, and no new one came.
    pub(crate) const EXPIRED: Unsubscribed = Unsubscribed {
        code: 2501,
        reason: "subscription expired",
    };

    /// What the control plane means by a code.
    pub(crate) fn by_server(code: u16) -> Unsubscribed {
        let named = [Unsubscribed::INSUFFICIENT_STATE, Unsubscribed::EXPIRED];
        let named = named.into_iter().find(|why| why.code == code);
        named.unwrap_or(Unsubscribed {
            code,
            ..Unsubscribed::SERVER
        })
    }
}

/// What the hub tells a client unasked, about a channel.
#[derive(Clone, Debug)]
pub(crate) enum Push {
    Join(Arc<ClientInfo>),
    Leave(Arc<ClientInfo>),
    Unsubscribed(Unsubscribed),
    /// The server has subscribed the client.
    Subscribed(Box<Subscribed>),
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
    Refreshed {
        client: String,
        version: &'a str,
        ttl: Option<u32>,
    },
    SubRefreshed {
        ttl: Option<u32>,
    },
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
    /// Seconds until the connection expires.
    pub(crate) ttl: Option<u32>,
    pub(crate) time: Time,
    /// Channels that the server has subscribed the client to.
    pub(crate) subs: &'a [(TopicName, Subscribed)],
}

/// The result of a subscribe command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscribed {
    /// Where the channel stands; `None` where it keeps no history, or the client has no position in it.
    pub(crate) position: Option<Position>,
    /// Whether a client may recover in this channel.
    pub(crate) recoverable: bool,
    /// The offset that the client named, with what came of it; `None` if it did not ask.
    pub(crate) recovery: Option<(u64, Recovery)>,
    /// The newest publication, or that of each key, for a client that did not ask but gets it nevertheless.
    pub(crate) newest: Vec<Publication>,
    /// Seconds until the subscription expires.
    pub(crate) ttl: Option<u32>,
    /// JSON for the application, or about the delivery mode.
    pub(crate) data: Option<RawJson>,
}

impl Subscribed {
    /// What the client missed. To a client without a position they are sent without their offsets.
    pub(crate) fn publications(&self) -> &[Publication] {
        match &self.recovery {
            Some((_, Recovery::Complete(missed))) => missed,
            _ => &self.newest,
        }
    }

    /// The offset that the publications move on: after a recovery the one that the client named.
    pub(crate) fn offset(&self) -> Option<u64> {
        let position = self.position?;
        Some(match &self.recovery {
            Some((since, Recovery::Complete(_))) => *since,
            _ => position.offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::CloseCode;

    #[test]
    fn every_disconnect_may_go_on_the_wire() {
        for disconnect in Disconnect::ALL {
            assert!(CloseCode::new(disconnect.code).is_some(), "{disconnect:?}");
            assert!(disconnect.reason.len() <= 123);
        }
    }
}
