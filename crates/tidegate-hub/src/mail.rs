//! What workers of a hub write to each other, and what the control plane writes to them.

use crate::history::{Page, Slice};
use crate::hub::Callback;
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Position, RawJson};
use crate::reply::{ClientError, Subscribed};
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{Encoded, PeerId, WorkerId};

/// Mail to a [`crate::Shard`].
pub struct ShardMail(pub(crate) Mail);

pub(crate) enum Mail {
    Worker(WorkerMail),
    Control(Control),
}

/// Between workers. Mail from one worker to another arrives in the order of sending; all that is said
/// about order in this crate stands on that.
#[derive(Clone)]
pub(crate) enum WorkerMail {
    /// To the channel's home: a client of another worker asks.
    Ask(Ask),
    /// To the home: these clients of `from` are members no more.
    Leave {
        from: WorkerId,
        members: Vec<(TopicName, Arc<ClientInfo>)>,
    },
    /// From the home: the answer to an [`Ask`].
    Answer { to: Asker, answer: Answer },
    /// From the home: give this frame to the channel's members.
    Deliver { topic: TopicName, frame: Encoded },
    /// From the home: something could not be delivered; make the channel's members recover.
    Resync { topic: TopicName },
}

/// Who asks: a client's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    pub(crate) peer: PeerId,
    pub(crate) id: u32,
}

#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) asker: Asker,
    pub(crate) topic: TopicName,
    pub(crate) question: Question,
}

/// What a home worker is asked by a client; it was checked to be allowed.
#[derive(Clone)]
pub(crate) enum Question {
    Subscribe {
        info: Arc<ClientInfo>,
        attempt: u32,
        recover: Option<(u64, Box<str>)>,
        reject_unrecovered: bool,
    },
    Publish {
        info: Arc<ClientInfo>,
        data: RawJson,
    },
    Presence,
    PresenceStats,
    History {
        epoch: Option<Box<str>>,
        page: Page,
    },
}

/// What a home worker answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The client is a member; or, with an error, it is counted as one but must leave.
    Subscribed {
        topic: TopicName,
        attempt: u32,
        result: Result<Subscribed, ClientError>,
    },
    Published,
    Presence(Vec<Arc<ClientInfo>>),
    PresenceStats(PresenceStats),
    History(Slice),
    Error(ClientError),
}

/// From the control plane to a channel's home. It is trusted: permissions are its own affair.
pub(crate) enum Control {
    Publish {
        topic: TopicName,
        data: RawJson,
        reply: Callback<Position>,
    },
    History {
        topic: TopicName,
        epoch: Option<Box<str>>,
        page: Page,
        reply: Callback<Slice>,
    },
    Presence {
        topic: TopicName,
        reply: Callback<Vec<Arc<ClientInfo>>>,
    },
    PresenceStats {
        topic: TopicName,
        reply: Callback<PresenceStats>,
    },
}
