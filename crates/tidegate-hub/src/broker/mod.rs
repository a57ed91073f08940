//! What a broker is asked and what it answers: publications, positions and histories of channels.
//!
//! There is no async trait: a broker takes requests and gives events, as mail does. Memory answers each
//! request at once, inside the home worker; a broker on the network would answer later.

pub(crate) mod memory;

use crate::config::Namespace;
use crate::history::{Page, Recovery, Slice};
use crate::publication::{Draft, Epoch, Position, Publication};
use crate::reply::ClientError;
use crate::topic::TopicName;

/// What the hub asks of a broker about one channel.
pub(crate) enum BrokerRequest<'a> {
    /// Number a publication and keep it as the options say; or neither, if `keep` is false.
    Publish { draft: Draft<'a>, keep: bool },
    /// This node has subscribers from now on; where does the channel stand, and what did one that
    /// returns miss? Where only the newest is recovered, one that is conflated gets it `by_key`.
    Subscribe {
        recover: Option<Since<'a>>,
        by_key: bool,
    },
    /// This node has no subscriber any more.
    Unsubscribe,
    /// A part of the history.
    History { epoch: Option<&'a str>, page: Page },
    /// Forget the publications, but not the position.
    Clear,
}

/// Where a returning subscriber stood, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Since<'a> {
    pub(crate) offset: u64,
    pub(crate) epoch: &'a str,
}

impl Since<'_> {
    fn epoch(&self) -> Option<Epoch> {
        Epoch::parse(self.epoch)
    }
}

/// What a broker answers.
pub(crate) enum BrokerEvent {
    /// To [`BrokerRequest::Publish`].
    Published(Publication, Position),
    /// To [`BrokerRequest::Subscribe`]; no position where the channel keeps no history. Where only the
    /// newest publication is recovered, it comes in any case: one, or one of each key, oldest first.
    Subscribed {
        position: Option<Position>,
        recovery: Option<Recovery>,
        newest: Vec<Publication>,
    },
    /// To [`BrokerRequest::Clear`].
    Cleared,
    /// To [`BrokerRequest::Unsubscribe`].
    Unsubscribed,
    /// To [`BrokerRequest::History`].
    History(Slice),
    /// It cannot be done; the client is told so.
    Refused(ClientError),
}

/// A request with the channel it is about.
pub(crate) struct About<'a> {
    pub(crate) topic: &'a TopicName,
    pub(crate) options: &'a Namespace,
}
