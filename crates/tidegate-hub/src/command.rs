//! What a client can ask for. How it is spelled is the codec's; whether it is allowed is the session's.

use std::borrow::Cow;

/// One command of a client, borrowed from its message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// The answer to the hub's ping: an empty command.
    Pong,
    /// The first command of a connection.
    Connect {
        /// Was a token given? It is not looked at yet.
        has_token: bool,
        /// JSON of the application; in development mode it becomes the client's `conn_info`.
        data: Option<Json<'a>>,
    },
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
        data: Json<'a>,
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
        data: Option<Json<'a>>,
    },
    /// Extend a connection or a subscription by a new token. There are no tokens yet.
    Refresh,
}

/// JSON as the client wrote it: one value, known to be well formed but not how deep it is.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub(crate) &'a serde_json::value::RawValue);

impl Json<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json<'_> {}

/// A subscribe command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscribe<'a> {
    /// Where.
    pub channel: Cow<'a, str>,
    /// The position to recover from, if the client asks to recover.
    pub recover: Option<(u64, Cow<'a, str>)>,
    /// The client would rather get error 112 than a subscription that could not be recovered.
    pub reject_unrecovered: bool,
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
    pub since: Option<(u64, Cow<'a, str>)>,
    /// Newest first.
    pub reverse: bool,
}
