//! The channels whose home this worker is: it counts members, keeps presence, and asks the broker. Who is
//! told what follows from its answers is the shard's.

use crate::broker::memory::Memory;
use crate::broker::{About, BrokerEvent, BrokerRequest, Since};
use crate::config::{HubConfig, JoinLeave, Namespace, PresenceBy, RecoveryMode};
use crate::history::{Page, Recovery, Slice};
use crate::mail::Departure;
use crate::news::Tell;
use crate::presence::{Left, PresenceStats, Rule};
use crate::publication::{ClientInfo, Draft, Position, Publication};
use crate::reply::{ClientError, Push, Subscribed};
use crate::seed::Seed;
use crate::session::Wish;
use crate::stats::ChannelInfo;
use crate::topic::{Members, Topic, TopicName};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use tidegate_proto::{Time, WorkerId};

/// The home part of a worker.
pub(crate) struct Home {
    config: Arc<HubConfig>,
    /// Channels with at least one member, or one that is said to be there.
    topics: HashMap<TopicName, Topic, Seed>,
    broker: Memory,
    due: BinaryHeap<Reverse<(Time, TopicName, Task)>>,
    known: Known,
    /// Joins and leaves that nobody was told.
    untold: u64,
}

/// What is to be done for a channel at some time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Tell who came and went.
    Tell,
    /// A user's grace is over.
    Over(Arc<str>),
    /// Tell where the channel stands.
    Check,
}

/// What members of a channel, or their workers, are to be told.
pub(crate) enum Due {
    News(Vec<Push>),
    Stands(Position),
}

/// A client that wants to be a member.
pub(crate) struct Entry<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) info: &'a Arc<ClientInfo>,
    pub(crate) wish: Wish,
    pub(crate) recover: Option<(u64, &'a str)>,
    pub(crate) reject_unrecovered: bool,
}

/// What followed from a subscribe.
pub(crate) struct Entered {
    pub(crate) result: Result<Box<Subscribed>, ClientError>,
    /// The members are to be told this.
    pub(crate) news: Vec<Push>,
}

impl Home {
    pub(crate) fn new(config: Arc<HubConfig>, seed: Seed) -> Home {
        let broker = Memory::new(config.limits.clone(), seed);
        Home {
            config,
            topics: HashMap::with_hasher(seed),
            broker,
            due: BinaryHeap::new(),
            known: Known::new(seed),
            untold: 0,
        }
    }

    /// Another configuration is in force from now on.
    pub(crate) fn reconfigure(&mut self, config: &Arc<HubConfig>) {
        self.broker.reconfigure(config.limits.clone());
        self.config = Arc::clone(config);
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
        let by_key = entry.wish.hz > 0;
        let request = BrokerRequest::Subscribe { recover, by_key };
        let (position, recovery, newest) = match self.broker.handle(&about, request, now, random) {
            BrokerEvent::Subscribed {
                position,
                recovery,
                newest,
            } => (position, recovery, newest),
            BrokerEvent::Refused(error) => return self.refuse(name, entry, error),
            _ => return self.refuse(name, entry, ClientError::INTERNAL),
        };
        let lost = entry.recover.is_some() && !matches!(recovery, Some(Recovery::Complete(_)));
        if lost && entry.reject_unrecovered {
            return self.refuse(name, entry, ClientError::UNRECOVERABLE_POSITION);
        }
        let topic = self.topics.entry(name.clone()).or_default();
        topic.enter(entry.worker, entry.wish.join_leave);
        let newcomer = !options.presence || topic.presence.join(entry.info, rule(options));
        let joined = options.join_leave != JoinLeave::Off && newcomer;
        let cached = options.recovery == RecoveryMode::Cache;
        let recovery = entry.recover.map(|(offset, _)| {
            let since = position.filter(|_| cached).map_or(offset, |p| p.offset);
            (since, recovery.unwrap_or(Recovery::Lost))
        });
        let news = match joined {
            true => self.tell(name, options, Arc::clone(entry.info), true, now),
            false => Vec::new(),
        };
        Entered {
            result: Ok(Box::new(Subscribed {
                position,
                recoverable: options.recovers(),
                recovery,
                newest,
                ..Subscribed::default()
            })),
            news,
        }
    }

    /// A refused client counts as a member until its worker says that it leaves, so that the count never
    /// depends on what the worker knew when the client went.
    fn refuse(&mut self, name: &TopicName, entry: &Entry<'_>, error: ClientError) -> Entered {
        self.topics
            .entry(name.clone())
            .or_default()
            .enter(entry.worker, entry.wish.join_leave);
        Entered {
            result: Err(error),
            news: Vec::new(),
        }
    }

    /// A member leaves. What the others are to be told.
    pub(crate) fn leave(
        &mut self,
        departure: &Departure,
        worker: WorkerId,
        now: Time,
    ) -> Vec<Push> {
        let (name, info) = (&departure.topic, &departure.info);
        let Some(topic) = self.topics.get_mut(name) else {
            return Vec::new();
        };
        topic.leave(worker, departure.listens);
        let config = Arc::clone(&self.config);
        let options = config.namespaces.options(name);
        let rule = options.map_or(NOBODY, rule);
        let left = topic.presence.leave(info, rule, now);
        let empty = topic.is_empty();
        if let Left::Lingers(until) = left {
            let over = Task::Over(Arc::clone(info.user()));
            self.due.push(Reverse((until, name.clone(), over)));
        }
        if empty {
            self.forget(name, options, now);
            return Vec::new();
        }
        let Some(options) = options.filter(|options| options.join_leave != JoinLeave::Off) else {
            return Vec::new();
        };
        let gone = left == Left::Gone || (left == Left::Unknown && !options.presence);
        match gone {
            true => self.tell(name, options, Arc::clone(info), false, now),
            false => Vec::new(),
        }
    }

    /// Nobody is subscribed any more. The channel is kept as long as somebody is said to be there.
    fn forget(&mut self, name: &TopicName, options: Option<&Namespace>, now: Time) {
        if self
            .topics
            .get(name)
            .is_some_and(|topic| topic.presence.is_empty())
        {
            self.topics.remove(name);
        }
        if let Some(options) = options {
            let about = About {
                topic: name,
                options,
            };
            self.broker
                .handle(&about, BrokerRequest::Unsubscribe, now, 0);
        }
    }

    /// Somebody came or went: what is to be told at once, if it does not wait for others. Where too many
    /// want to be told, nobody is.
    fn tell(
        &mut self,
        name: &TopicName,
        options: &Namespace,
        info: Arc<ClientInfo>,
        came: bool,
        now: Time,
    ) -> Vec<Push> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Vec::new();
        };
        if topic.listeners > options.join_leave_limit {
            self.untold += 1 + topic.news.forget() as u64;
            return Vec::new();
        }
        let by_user = options.presence_by == PresenceBy::User;
        let same = |one: &ClientInfo, other: &ClientInfo| match by_user && !one.user().is_empty() {
            true => one.user() == other.user(),
            false => one.id() == other.id(),
        };
        let batch = options.join_leave_batch;
        match topic.news.add(info, came, same, batch, now) {
            Tell::Now(pushes) => return pushes,
            Tell::At(at) => self.due.push(Reverse((at, name.clone(), Task::Tell))),
            Tell::Later => {}
        }
        Vec::new()
    }

    /// Publishes. `None` in place of a publication: this idempotency key has been seen before.
    pub(crate) fn publish(
        &mut self,
        name: &TopicName,
        draft: Draft<'_>,
        how: How<'_>,
        now: Time,
        random: u64,
    ) -> Result<(Option<Publication>, Position), ClientError> {
        let binary = self.options(name)?.binary;
        if !binary && matches!(draft.data, crate::publication::Payload::Binary(_)) {
            return Err(ClientError::BAD_REQUEST);
        }
        if let Some(position) = how.key.and_then(|key| self.known.get(name, key, now)) {
            return Ok((None, position));
        }
        let request = BrokerRequest::Publish {
            draft,
            keep: how.keep,
        };
        match self.ask(name, request, now, random)? {
            BrokerEvent::Published(publication, position) => {
                if let Some(key) = how.key {
                    let limits = &self.config.limits;
                    let until = now + limits.idempotency_ttl;
                    let most = limits.idempotency_keys;
                    self.known.add(name, key, position, until, most);
                }
                if publication.offset() > 0 {
                    self.check_later(name, now);
                }
                Ok((Some(publication), position))
            }
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
        if !self.options(name)?.has_history() {
            return Err(ClientError::NOT_AVAILABLE);
        }
        match self.ask(name, BrokerRequest::History { epoch, page }, now, random)? {
            BrokerEvent::History(slice) => Ok(slice),
            other => Err(refusal(&other)),
        }
    }

    pub(crate) fn history_remove(
        &mut self,
        name: &TopicName,
        now: Time,
    ) -> Result<(), ClientError> {
        if !self.options(name)?.has_history() {
            return Err(ClientError::NOT_AVAILABLE);
        }
        match self.ask(name, BrokerRequest::Clear, now, 0)? {
            BrokerEvent::Cleared => Ok(()),
            other => Err(refusal(&other)),
        }
    }

    pub(crate) fn presence(&self, name: &TopicName) -> Result<Vec<Arc<ClientInfo>>, ClientError> {
        let options = self.options(name)?;
        if !options.presence {
            return Err(ClientError::NOT_AVAILABLE);
        }
        let by_user = options.presence_by == PresenceBy::User;
        match self.topics.get(name) {
            None => Ok(Vec::new()),
            Some(topic) => topic
                .presence
                .list(self.config.limits.presence, by_user)
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

    /// Channels with members whose names fit, at most `limit`.
    pub(crate) fn channels(&self, pattern: Option<&str>, limit: usize) -> Vec<ChannelInfo> {
        let fits = |name: &str| pattern.is_none_or(|pattern| crate::topic::fits(pattern, name));
        self.topics
            .iter()
            .filter(|(name, topic)| !topic.is_empty() && fits(name.as_str()))
            .take(limit)
            .map(|(name, topic)| ChannelInfo {
                channel: name.as_str().to_owned(),
                clients: topic.members(),
            })
            .collect()
    }

    /// The workers with members in a channel.
    pub(crate) fn members(&self, name: &TopicName) -> &[Members] {
        self.topics.get(name).map_or(&[], |topic| &topic.workers)
    }

    /// Some time from now the members' workers are told where the channel stands, so that one that has lost
    /// something in silence notices.
    pub(crate) fn check_later(&mut self, name: &TopicName, now: Time) {
        let Some(topic) = self.topics.get_mut(name).filter(|topic| !topic.checked) else {
            return; // nobody could have lost anything, or it is seen to already
        };
        topic.checked = true;
        let at = now + self.config.position_check;
        self.due.push(Reverse((at, name.clone(), Task::Check)));
    }

    /// Where the channel stands, if it is time to say so and somebody is there to hear it.
    fn check(&mut self, name: &TopicName, now: Time) -> Option<Position> {
        let topic = self.topics.get_mut(name)?;
        topic.checked = false;
        if topic.is_empty() {
            return None;
        }
        let page = Page {
            limit: Some(0),
            ..Page::default()
        };
        let request = BrokerRequest::History { epoch: None, page };
        match self.ask(name, request, now, 0) {
            Ok(BrokerEvent::History(slice)) => Some(slice.position),
            _ => None,
        }
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
        let task = self.due.peek().map(|Reverse((at, ..))| *at);
        task.into_iter().chain(self.broker.next_due()).min()
    }

    /// Does what is due; the answer is what members of channels are to be told.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<(TopicName, Due)> {
        self.broker.expire(now);
        let mut all = Vec::new();
        while self.due.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, name, task))) = self.due.pop() else {
                break;
            };
            let due = match task {
                Task::Tell => Some(Due::News(self.told(&name))),
                Task::Over(user) => Some(Due::News(self.over(&name, &user, now))),
                Task::Check => self.check(&name, now).map(Due::Stands),
            };
            all.extend(due.map(|due| (name, due)));
        }
        all
    }

    /// Who came and went since the last time.
    fn told(&mut self, name: &TopicName) -> Vec<Push> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Vec::new();
        };
        let options = self.config.namespaces.options(name);
        let most = options.map_or(0, |options| options.join_leave_limit);
        if topic.listeners > most {
            self.untold += topic.news.forget() as u64;
        }
        topic.news.take()
    }

    fn over(&mut self, name: &TopicName, user: &str, now: Time) -> Vec<Push> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Vec::new();
        };
        let Some(gone) = topic.presence.over(user, now) else {
            return Vec::new();
        };
        let config = Arc::clone(&self.config);
        let options = config.namespaces.options(name);
        if topic.is_empty() {
            if topic.presence.is_empty() {
                self.topics.remove(name);
            }
            return Vec::new();
        }
        match options.filter(|options| options.join_leave != JoinLeave::Off) {
            Some(options) => self.tell(name, options, gone, false, now),
            None => Vec::new(),
        }
    }

    /// How many joins and leaves nobody was told, because too many wanted to know.
    pub(crate) fn untold(&self) -> u64 {
        self.untold
    }

    /// Channels with members, channels with a position, bytes of history.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        let (streams, bytes) = self.broker.size();
        (self.topics.len(), streams, bytes)
    }

    fn options(&self, name: &TopicName) -> Result<&Namespace, ClientError> {
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

/// How something is published.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    /// In the history, if the channel has one.
    pub(crate) keep: bool,
    /// Once for this key.
    pub(crate) key: Option<&'a str>,
}

fn rule(options: &Namespace) -> Rule {
    Rule {
        by_user: options.presence_by == PresenceBy::User,
        grace: options.leave_grace,
    }
}

/// Where a channel's namespace is gone.
const NOBODY: Rule = Rule {
    by_user: false,
    grace: std::time::Duration::ZERO,
};

fn refusal(event: &BrokerEvent) -> ClientError {
    match event {
        BrokerEvent::Refused(error) => *error,
        _ => ClientError::INTERNAL,
    }
}

/// Idempotency keys with the answer that was given to the first.
struct Known {
    answers: HashMap<(TopicName, Box<str>), (Position, Time), Seed>,
    order: VecDeque<(Time, TopicName, Box<str>)>,
}

impl Known {
    fn new(seed: Seed) -> Known {
        Known {
            answers: HashMap::with_hasher(seed),
            order: VecDeque::new(),
        }
    }

    fn get(&mut self, topic: &TopicName, key: &str, now: Time) -> Option<Position> {
        let (position, until) = self.answers.get(&(topic.clone(), key.into()))?;
        (*until > now).then_some(*position)
    }

    fn add(&mut self, topic: &TopicName, key: &str, position: Position, until: Time, most: usize) {
        let key: Box<str> = key.into();
        self.order.push_back((until, topic.clone(), key.clone()));
        self.answers.insert((topic.clone(), key), (position, until));
        while self.order.len() > most {
            let Some((at, topic, key)) = self.order.pop_front() else {
                break;
            };
            let key = (topic, key);
            // It may have been used again since.
            if self
                .answers
                .get(&key)
                .is_some_and(|(_, until)| *until == at)
            {
                self.answers.remove(&key);
            }
        }
    }
}
