//! What a client can ask for. How it is spelled is the codec's; whether it is allowed is the session's.

use crate::publication::{BadJson, Payload, RawJson};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One command of a client, borrowed from its message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// The answer to the hub's ping: an empty command.
    Pong,
    /// The first command of a connection.
    Connect(Connect<'a>),
    /// Receive what is published in a channel.
    Subscribe(Subscribe<'a>),
    /// Stop that.
    Unsubscribe {
        /// Where.
        channel: Cow<'a, str>,
    },
    /// Publish in a channel.
    Publish {
        /// Where.
        channel: Cow<'a, str>,
        /// What.
        data: Data<'a>,
    },
    /// Who is in a channel?
    Presence {
        /// Where.
        channel: Cow<'a, str>,
    },
    /// How many are in a channel?
    PresenceStats {
        /// Where.
        channel: Cow<'a, str>,
    },
    /// What was published in a channel?
    History(HistoryOf<'a>),
    /// Are you there?
    Ping,
    /// A message that wants no answer; accepted and not used by anything yet.
    Send,
    /// Call a function of the server.
    Rpc {
        /// Its name.
        method: Cow<'a, str>,
        /// Its argument.
        data: Option<Data<'a>>,
    },
    /// Extend the connection by a new token.
    Refresh {
        /// The token.
        token: Cow<'a, str>,
    },
    /// Extend a subscription by a new token.
    SubRefresh {
        /// Where.
        channel: Cow<'a, str>,
        /// The token.
        token: Cow<'a, str>,
    },
}

impl Command<'_> {
    /// Its name in the protocol; `pong` for the empty command.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Pong => "pong",
            Command::Connect(_) => "connect",
            Command::Subscribe(_) => "subscribe",
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::Publish { .. } => "publish",
            Command::Presence { .. } => "presence",
            Command::PresenceStats { .. } => "presence_stats",
            Command::History(_) => "history",
            Command::Ping => "ping",
            Command::Send => "send",
            Command::Rpc { .. } => "rpc",
            Command::Refresh { .. } => "refresh",
            Command::SubRefresh { .. } => "sub_refresh",
        }
    }
}

/// A command with its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbered<'a> {
    /// Chosen by the client; 0 only for pongs and `send`.
    pub id: u32,
    /// The command, or why it makes no sense.
    pub command: Result<Command<'a>, crate::ClientError>,
}

/// The message cannot be understood: the connection is closed with 3501.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadFrame;

/// What a client sends for others: a JSON value as it wrote it, known to be well formed but not how deep
/// it is; or octets of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// From a JSON message.
    Json(&'a RawValue),
    /// From a protobuf message.
    Octets(&'a [u8]),
}

impl Data<'_> {
    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Json(value) => value.get().as_bytes(),
            Data::Octets(octets) => octets,
        }
    }

    /// The data as JSON that others can be expected to read.
    ///
    /// # Errors
    /// [`BadJson`]: it is none, or too deep.
    pub fn json(&self) -> Result<RawJson, BadJson> {
        match self {
            Data::Json(value) => RawJson::from_value(value),
            Data::Octets(octets) => RawJson::parse(std::str::from_utf8(octets).or(Err(BadJson))?),
        }
    }

    /// The data as they may be published: JSON, or anything if `binary`.
    ///
    /// # Errors
    /// [`BadJson`]: it must be JSON and is not.
    pub fn payload(&self, binary: bool) -> Result<Payload, BadJson> {
        if binary {
            Ok(Payload::Binary(self.as_bytes().into()))
        } else {
            self.json().map(Payload::Json)
        }
    }
}

impl PartialEq for Data<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Data<'_> {}

/// Where a client stood in a channel: offset and epoch.
pub type Stood<'a> = (u64, Cow<'a, str>);

/// A connect command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connect<'a> {
    /// Who the client is; empty for an anonymous one.
    pub token: Cow<'a, str>,
    /// JSON of the application.
    pub data: Option<Data<'a>>,
    /// Positions from which channels that the server subscribes it to are to be recovered.
    pub recover: Vec<(Cow<'a, str>, Stood<'a>)>,
}

/// A subscribe command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscribe<'a> {
    /// Where.
    pub channel: Cow<'a, str>,
    /// A token that opens the channel; empty for none.
    pub token: Cow<'a, str>,
    /// The position to recover from, if the client asks to recover.
    pub recover: Option<Stood<'a>>,
    /// The client would rather get error 112 than a subscription that could not be recovered.
    pub reject_unrecovered: bool,
    /// The client wants to be told who joins and leaves.
    pub join_leave: bool,
    /// JSON: how it wants to be delivered to; see [`crate::Delivery`].
    pub data: Option<Data<'a>>,
    /// The client asks for deltas, which this hub does not have. It is told that it gets none.
    pub delta: bool,
    /// The client asks for something that changes what it gets and that this hub does not have: a filter,
    /// or a subscription of another type. It must not be told that it has it.
    pub unavailable: bool,
}

/// A history command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryOf<'a> {
    /// Where.
    pub channel: Cow<'a, str>,
    /// At most so many; negative for all, 0 for the position only.
    pub limit: i32,
    /// From this offset on, in this epoch (which may be empty).
    pub since: Option<Stood<'a>>,
    /// Newest first.
    pub reverse: bool,
}
