//! What workers of a hub write to each other, and what the control plane writes to them.

use crate::codec::Shared;
use crate::config::HubConfig;
use crate::history::{Page, Slice};
use crate::hub::{Callback, Outgoing, Refreshed, ServerSubscribe, Target};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Payload, Position, Publication};
use crate::reply::{ClientError, Disconnect, Subscribed};
use crate::session::Wish;
use crate::stats::{ChannelInfo, ClientSummary, Revocation, WorkerStats};
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{PeerId, WorkerId};

/// Mail to a [`crate::Shard`].
pub struct ShardMail(pub(crate) Mail);

impl ShardMail {
    /// Whether it brings a publication to members. For drivers that lose such mail on purpose, to see that
    /// it is noticed; loss of any other mail is not provided for.
    pub fn brings_publication(&self) -> bool {
        let Mail::Worker(WorkerMail::Deliver { what, .. }) = &self.0 else {
            return false;
        };
        matches!(what, Delivered::Publication(_))
    }
}

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
        members: Vec<Departure>,
    },
    /// From the home: the answer to an [`Ask`].
    Answer { to: Asker, answer: Answer },
    /// From the home: give this to the channel's members.
    Deliver { topic: TopicName, what: Delivered },
    /// From the home: something could not be delivered; make the channel's members recover.
    Resync { topic: TopicName },
    /// From the home: what the worker has been sent of the channel goes up to here.
    Stands {
        topic: TopicName,
        position: Position,
    },
}

/// A client is a member of a channel no more.
#[derive(Clone)]
pub(crate) struct Departure {
    pub(crate) topic: TopicName,
    pub(crate) info: Arc<ClientInfo>,
    /// It wanted to be told who comes and goes.
    pub(crate) listens: bool,
}

/// What a home gives to the members of a channel.
#[derive(Clone)]
pub(crate) enum Delivered {
    /// To all, each in its mode.
    Publication(Publication),
    /// Joins and leaves, to those that want to know.
    Presence(Shared),
}

/// Who asks: a client's command, or the hub itself on the client's behalf (then `id` is 0).
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
        wish: Wish,
        recover: Option<(u64, Box<str>)>,
        reject_unrecovered: bool,
    },
    Publish {
        info: Arc<ClientInfo>,
        data: Payload,
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
        result: Result<Box<Subscribed>, ClientError>,
    },
    Published,
    Presence(Vec<Arc<ClientInfo>>),
    PresenceStats(PresenceStats),
    History(Slice),
    Error(ClientError),
}

/// From the control plane. It is trusted: permissions are its own affair.
pub(crate) enum Control {
    // To a channel's home.
    Publish {
        topic: TopicName,
        publication: Outgoing,
        reply: Callback<Position>,
    },
    History {
        topic: TopicName,
        epoch: Option<Box<str>>,
        page: Page,
        reply: Callback<Slice>,
    },
    HistoryRemove {
        topic: TopicName,
        reply: Callback<()>,
    },
    Presence {
        topic: TopicName,
        reply: Callback<Vec<Arc<ClientInfo>>>,
    },
    PresenceStats {
        topic: TopicName,
        reply: Callback<PresenceStats>,
    },
    // To every worker.
    Channels {
        pattern: Option<Arc<str>>,
        limit: usize,
        reply: Callback<Vec<ChannelInfo>>,
    },
    Order {
        target: Arc<Target>,
        order: Arc<Order>,
        reply: Callback<usize>,
    },
    Revoke {
        revocation: Arc<Revocation>,
        reply: Callback<usize>,
    },
    Clients {
        user: Option<Arc<str>>,
        only_slow: bool,
        limit: usize,
        reply: Callback<Vec<ClientSummary>>,
    },
    Stats {
        reply: Callback<WorkerStats>,
    },
    Reconfigure {
        config: Arc<HubConfig>,
        reply: Callback<()>,
    },
}

/// What is to be done with the connections of a user.
#[derive(Clone)]
pub(crate) enum Order {
    Subscribe {
        topic: TopicName,
        options: ServerSubscribe,
    },
    Unsubscribe {
        topic: TopicName,
        code: u16,
    },
    Disconnect(Disconnect),
    Refresh(Refreshed),
}
