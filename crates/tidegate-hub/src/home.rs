//! The channels whose home this worker is: it counts members, keeps presence, and asks the broker. Who is
//! told what follows from its answers is the shard's.

use crate::broker::memory::Memory;
use crate::broker::{About, BrokerEvent, BrokerRequest, Since};
use crate::config::{ChannelOptions, HubConfig};
use crate::history::{Page, Slice};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Position, Publication, RawJson};
use crate::reply::{ClientError, Subscribed};
use crate::seed::Seed;
use crate::topic::{Members, Topic, TopicName};
use std::collections::HashMap;
use std::sync::Arc;
use tidegate_proto::{Time, WorkerId};

/// The home part of a worker.
pub(crate) struct Home {
    config: Arc<HubConfig>,
    /// Channels with at least one member.
    topics: HashMap<TopicName, Topic, Seed>,
    broker: Memory,
}

/// A client that wants to be a member.
pub(crate) struct Entry<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) info: &'a Arc<ClientInfo>,
    pub(crate) recover: Option<(u64, &'a str)>,
    pub(crate) reject_unrecovered: bool,
}

/// What followed from a subscribe.
pub(crate) struct Entered {
    pub(crate) result: Result<Subscribed, ClientError>,
    /// The members are to be told of a newcomer.
    pub(crate) joined: bool,
}

impl Home {
    pub(crate) fn new(config: Arc<HubConfig>, seed: Seed) -> Home {
        let broker = Memory::new(config.limits.clone(), seed);
        Home {
            config,
            topics: HashMap::with_hasher(seed),
            broker,
        }
    }

    /// Registers a member and tells where the channel stands, in one step: whatever is published from
    /// now on is sent to the member's worker after this answer.
    pub(crate) fn enter(
        &mut self,
        name: &TopicName,
        entry: &Entry<'_>,
        now: Time,
        random: u64,
    ) -> Entered {
        let config = Arc::clone(&self.config);
        let Some(options) = config.namespaces.options(name) else {
            return self.refuse(name, entry, ClientError::UNKNOWN_CHANNEL);
        };
        let about = About {
            topic: name,
            options,
        };
        let asked = entry.recover.filter(|_| options.recovers());
        let recover = asked.map(|(offset, epoch)| Since { offset, epoch });
        let request = BrokerRequest::Subscribe { recover };
        let (position, recovery) = match self.broker.handle(&about, request, now, random) {
            BrokerEvent::Subscribed(position, recovery) => (position, recovery),
            BrokerEvent::Refused(error) => return self.refuse(name, entry, error),
            _ => return self.refuse(name, entry, ClientError::INTERNAL),
        };
        let lost = entry.recover.is_some()
            && !matches!(recovery, Some(crate::history::Recovery::Complete(_)));
        if lost && entry.reject_unrecovered {
            return self.refuse(name, entry, ClientError::UNRECOVERABLE_POSITION);
        }
        let topic = self.topics.entry(name.clone()).or_default();
        topic.enter(entry.worker);
        let newcomer = !options.presence || topic.presence.join(entry.info);
        let recovery = match (entry.recover, recovery) {
            (Some((offset, _)), Some(recovery)) => Some((offset, recovery)),
            (Some((offset, _)), None) => Some((offset, crate::history::Recovery::Lost)),
            (None, _) => None,
        };
        Entered {
            result: Ok(Subscribed {
                position,
                recoverable: options.recovers(),
                recovery,
            }),
            joined: options.join_leave && newcomer,
        }
    }

    /// A refused client counts as a member until its worker says that it leaves, so that the count never
    /// depends on what the worker knew when the client went.
    fn refuse(&mut self, name: &TopicName, entry: &Entry<'_>, error: ClientError) -> Entered {
        self.topics
            .entry(name.clone())
            .or_default()
            .enter(entry.worker);
        Entered {
            result: Err(error),
            joined: false,
        }
    }

    /// A member leaves. True if the others are to be told.
    pub(crate) fn leave(
        &mut self,
        name: &TopicName,
        worker: WorkerId,
        info: &ClientInfo,
        now: Time,
    ) -> bool {
        let Some(topic) = self.topics.get_mut(name) else {
            return false;
        };
        topic.leave(worker);
        let config = Arc::clone(&self.config);
        let Some(options) = config.namespaces.options(name) else {
            if topic.is_empty() {
                self.topics.remove(name);
            }
            return false;
        };
        let went = !options.presence || topic.presence.leave(info);
        if topic.is_empty() {
            self.topics.remove(name);
            let about = About {
                topic: name,
                options,
            };
            self.broker
                .handle(&about, BrokerRequest::Unsubscribe, now, 0);
            return false;
        }
        options.join_leave && went
    }

    pub(crate) fn publish(
        &mut self,
        name: &TopicName,
        data: &RawJson,
        info: Option<&ClientInfo>,
        now: Time,
        random: u64,
    ) -> Result<(Publication, Position), ClientError> {
        let request = BrokerRequest::Publish { data, info };
        match self.ask(name, request, now, random)? {
            BrokerEvent::Published(publication, position) => Ok((publication, position)),
            other => Err(refusal(&other)),
        }
    }

    pub(crate) fn history(
        &mut self,
        name: &TopicName,
        epoch: Option<&str>,
        page: Page,
        now: Time,
        random: u64,
    ) -> Result<Slice, ClientError> {
        let options = self.options(name)?;
        if !options.has_history() {
            return Err(ClientError::NOT_AVAILABLE);
        }
        match self.ask(name, BrokerRequest::History { epoch, page }, now, random)? {
            BrokerEvent::History(slice) => Ok(slice),
            other => Err(refusal(&other)),
        }
    }

    pub(crate) fn presence(&self, name: &TopicName) -> Result<Vec<Arc<ClientInfo>>, ClientError> {
        if !self.options(name)?.presence {
            return Err(ClientError::NOT_AVAILABLE);
        }
        match self.topics.get(name) {
            None => Ok(Vec::new()),
            Some(topic) => topic
                .presence
                .list(self.config.limits.presence)
                .ok_or(ClientError::LIMIT_EXCEEDED),
        }
    }

    pub(crate) fn presence_stats(&self, name: &TopicName) -> Result<PresenceStats, ClientError> {
        if !self.options(name)?.presence {
            return Err(ClientError::NOT_AVAILABLE);
        }
        Ok(self
            .topics
            .get(name)
            .map(|topic| topic.presence.stats())
            .unwrap_or_default())
    }

    /// The workers with members in a channel.
    pub(crate) fn members(&self, name: &TopicName) -> &[Members] {
        self.topics.get(name).map_or(&[], |topic| &topic.workers)
    }

    /// A publication did not reach a worker: it gets no more until a member of it subscribes anew.
    pub(crate) fn lags(&mut self, name: &TopicName, worker: WorkerId) {
        let topic = self.topics.get_mut(name);
        let members = topic.and_then(|t| t.workers.iter_mut().find(|m| m.worker == worker));
        if let Some(members) = members {
            members.live = false;
        }
    }

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.broker.next_due()
    }

    pub(crate) fn expire(&mut self, now: Time) {
        self.broker.expire(now);
    }

    /// Channels with members, channels with a position, bytes of history.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        let (streams, bytes) = self.broker.size();
        (self.topics.len(), streams, bytes)
    }

    fn options(&self, name: &TopicName) -> Result<&ChannelOptions, ClientError> {
        self.config
            .namespaces
            .options(name)
            .ok_or(ClientError::UNKNOWN_CHANNEL)
    }

    fn ask(
        &mut self,
        name: &TopicName,
        request: BrokerRequest<'_>,
        now: Time,
        random: u64,
    ) -> Result<BrokerEvent, ClientError> {
        let config = Arc::clone(&self.config);
        let options = config
            .namespaces
            .options(name)
            .ok_or(ClientError::UNKNOWN_CHANNEL)?;
        let about = About {
            topic: name,
            options,
        };
        Ok(self.broker.handle(&about, request, now, random))
    }
}

fn refusal(event: &BrokerEvent) -> ClientError {
    match event {
        BrokerEvent::Refused(error) => *error,
        _ => ClientError::INTERNAL,
    }
}
