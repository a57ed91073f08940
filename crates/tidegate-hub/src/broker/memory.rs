//! The broker that is a part of the process: each home worker keeps the histories of its channels. It is
//! bounded by bytes and by channels, and a restart of the server is a new epoch for all of them.

use super::{About, BrokerEvent, BrokerRequest, Since};
use crate::config::{HubLimits, RecoveryMode};
use crate::history::{History, Page, Recovery};
use crate::pace;
use crate::publication::{Draft, Epoch, Position, Publication};
use crate::reply::ClientError;
use crate::seed::Seed;
use crate::topic::TopicName;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;
use tidegate_proto::Time;

/// The histories of the channels whose home this worker is.
pub(crate) struct Memory {
    streams: HashMap<TopicName, Stream, Seed>,
    limits: HubLimits,
    bytes: usize,
    kept: usize,
    /// Every kept publication in the order of its arrival, and some that are kept no more.
    log: VecDeque<(TopicName, Epoch, u64)>,
    /// One entry for each stream: when to look at it again.
    due: BinaryHeap<Reverse<(Time, TopicName)>>,
    swept: Option<Time>,
}

struct Stream {
    history: History,
    ttl: Duration,
    /// This worker's members hold positions in it.
    wanted: bool,
    used: Time,
    /// Where the newest of each key stand, once a conflated subscriber has asked.
    by_key: Option<Box<ByKey>>,
}

/// Where the newest publication of each key stands in a history, oldest first. It is found once for each
/// state of the history, however many subscribe meanwhile.
struct ByKey {
    /// The state: an offset is never given out twice.
    top: u64,
    len: usize,
    pointer: Option<String>,
    places: Vec<usize>,
}

impl Memory {
    pub(crate) fn new(limits: HubLimits, seed: Seed) -> Memory {
        Memory {
            streams: HashMap::with_hasher(seed),
            limits,
            bytes: 0,
            kept: 0,
            log: VecDeque::new(),
            due: BinaryHeap::new(),
            swept: None,
        }
    }

    /// Answers a request. `random` becomes the epoch if the channel is new.
    pub(crate) fn handle(
        &mut self,
        about: &About<'_>,
        request: BrokerRequest<'_>,
        now: Time,
        random: u64,
    ) -> BrokerEvent {
        match request {
            BrokerRequest::Unsubscribe => self.unsubscribe(about, now),
            BrokerRequest::Publish { draft, keep } if !(keep && about.options.has_history()) => {
                let publication =
                    Publication::new(about.topic, None, now, &draft, about.options.publisher);
                BrokerEvent::Published(publication, Position::default())
            }
            BrokerRequest::Subscribe { .. } if !about.options.has_history() => {
                BrokerEvent::Subscribed {
                    position: None,
                    recovery: None,
                    newest: Vec::new(),
                }
            }
            BrokerRequest::Clear => self.clear(about),
            request => {
                if !self.ensure(about, now, random) {
                    return BrokerEvent::Refused(ClientError::LIMIT_EXCEEDED);
                }
                match request {
                    BrokerRequest::Publish { draft, .. } => self.publish(about, now, &draft),
                    BrokerRequest::Subscribe { recover, by_key } => {
                        self.subscribe(about, now, recover, by_key)
                    }
                    BrokerRequest::History { epoch, page } => self.page(about, now, epoch, &page),
                    BrokerRequest::Unsubscribe | BrokerRequest::Clear => BrokerEvent::Unsubscribed,
                }
            }
        }
    }

    /// Other limits are in force from now on.
    pub(crate) fn reconfigure(&mut self, limits: HubLimits) {
        self.limits = limits;
        self.make_room();
    }

    /// When [`Memory::expire`] should be called next.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Drops what is too old, and forgets channels that nobody needs any more.
    pub(crate) fn expire(&mut self, now: Time) {
        while self.next_due().is_some_and(|at| at <= now) {
            let Some(Reverse((_, topic))) = self.due.pop() else {
                return;
            };
            self.look_at(topic, now, self.limits.remember);
        }
    }

    /// How many channels have a position here, and how many bytes their publications have.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.streams.len(), self.bytes)
    }

    /// Makes sure that the channel has a stream; false if there are too many.
    fn ensure(&mut self, about: &About<'_>, now: Time, random: u64) -> bool {
        if let Some(stream) = self.streams.get_mut(about.topic) {
            stream.used = now;
            return true;
        }
        if self.streams.len() >= self.limits.streams {
            self.forget_idle(now);
        }
        if self.streams.len() >= self.limits.streams {
            return false;
        }
        let stream = Stream {
            history: History::new(Epoch(random)),
            ttl: about.options.history_ttl,
            wanted: false,
            used: now,
            by_key: None,
        };
        self.streams.insert(about.topic.clone(), stream);
        let at = now + self.limits.remember.min(about.options.history_ttl);
        self.due.push(Reverse((at, about.topic.clone())));
        true
    }

    fn publish(&mut self, about: &About<'_>, now: Time, draft: &Draft<'_>) -> BrokerEvent {
        let bytes = self.limits.topic_history;
        let Some(stream) = self.streams.get_mut(about.topic) else {
            return BrokerEvent::Refused(ClientError::INTERNAL);
        };
        stream.ttl = about.options.history_ttl; // it may have been reconfigured
        let history = &mut stream.history;
        let offset = history.position().offset + 1;
        let publication = Publication::new(
            about.topic,
            Some(offset),
            now,
            draft,
            about.options.publisher,
        );
        let before = (history.len(), history.bytes());
        history.push(publication.clone());
        history.trim(about.options.history_size, bytes, stream.ttl, now);
        let (position, after) = (history.position(), (history.len(), history.bytes()));
        self.count(before, after);
        self.log
            .push_back((about.topic.clone(), position.epoch, offset));
        self.make_room();
        BrokerEvent::Published(publication, position)
    }

    fn subscribe(
        &mut self,
        about: &About<'_>,
        now: Time,
        recover: Option<Since<'_>>,
        by_key: bool,
    ) -> BrokerEvent {
        self.trim(about, now);
        let most = self.limits.keys;
        let Some(stream) = self.streams.get_mut(about.topic) else {
            return BrokerEvent::Refused(ClientError::INTERNAL);
        };
        stream.wanted = true;
        let (recovery, newest) = match about.options.recovery {
            RecoveryMode::Cache if by_key => (None, stream.newest_by_key(about, most)),
            RecoveryMode::Cache => newest_only(&stream.history, recover),
            _ => {
                let history = &stream.history;
                (
                    recover.map(|since| history.recover(since.offset, since.epoch())),
                    Vec::new(),
                )
            }
        };
        BrokerEvent::Subscribed {
            position: Some(stream.history.position()),
            recovery,
            newest,
        }
    }

    fn clear(&mut self, about: &About<'_>) -> BrokerEvent {
        if let Some(stream) = self.streams.get_mut(about.topic) {
            let history = &mut stream.history;
            let before = (history.len(), history.bytes());
            history.clear();
            let after = (history.len(), history.bytes());
            self.count(before, after);
        }
        BrokerEvent::Cleared
    }

    fn unsubscribe(&mut self, about: &About<'_>, now: Time) -> BrokerEvent {
        if let Some(stream) = self.streams.get_mut(about.topic) {
            stream.wanted = false;
            stream.used = now;
        }
        BrokerEvent::Unsubscribed
    }

    fn page(
        &mut self,
        about: &About<'_>,
        now: Time,
        epoch: Option<&str>,
        page: &Page,
    ) -> BrokerEvent {
        self.trim(about, now);
        let Some(stream) = self.streams.get(about.topic) else {
            return BrokerEvent::Refused(ClientError::INTERNAL);
        };
        let own = stream.history.position().epoch;
        // An empty epoch is "any": the client has an offset only.
        match epoch {
            Some(text) if !text.is_empty() && Epoch::parse(text) != Some(own) => {
                BrokerEvent::Refused(ClientError::UNRECOVERABLE_POSITION)
            }
            _ => BrokerEvent::History(stream.history.page(page)),
        }
    }

    /// Drops the channel's expired publications.
    fn trim(&mut self, about: &About<'_>, now: Time) {
        if let Some(stream) = self.streams.get_mut(about.topic) {
            let history = &mut stream.history;
            let before = (history.len(), history.bytes());
            history.trim(usize::MAX, usize::MAX, stream.ttl, now);
            let after = (history.len(), history.bytes());
            self.count(before, after);
        }
    }

    fn count(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.kept = self.kept + after.0 - before.0;
        self.bytes = self.bytes + after.1 - before.1;
    }

    /// Drops the oldest publications of all channels until their sum fits.
    fn make_room(&mut self) {
        while self.bytes > self.limits.worker_history {
            let Some((topic, epoch, offset)) = self.log.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(&topic) else {
                continue;
            };
            let history = &mut stream.history;
            let is_kept = history.oldest().is_some_and(|p| p.offset() == offset);
            if is_kept && history.position().epoch == epoch {
                let before = (history.len(), history.bytes());
                history.drop_oldest();
                let after = (history.len(), history.bytes());
                self.count(before, after);
            }
        }
        // Entries of publications that were dropped for another reason are thrown out now and then.
        if self.log.len() > 2 * self.kept + LOG_SLACK {
            let streams = &self.streams;
            self.log.retain(|(topic, epoch, offset)| {
                streams.get(topic).is_some_and(|stream| {
                    stream.history.position().epoch == *epoch
                        && stream
                            .history
                            .oldest()
                            .is_some_and(|p| p.offset() <= *offset)
                })
            });
        }
    }

    /// Trims one stream, then forgets it or enters when to look again.
    fn look_at(&mut self, topic: TopicName, now: Time, remember: Duration) {
        let Some(stream) = self.streams.get_mut(&topic) else {
            return;
        };
        let history = &mut stream.history;
        let before = (history.len(), history.bytes());
        history.trim(usize::MAX, usize::MAX, stream.ttl, now);
        let after = (history.len(), history.bytes());
        let again = match history.oldest() {
            Some(oldest) => oldest.at() + stream.ttl,
            None if stream.wanted => now + stream.ttl.max(remember),
            None => stream.used + remember,
        };
        let idle = history.oldest().is_none() && !stream.wanted;
        self.count(before, after);
        if idle && again <= now {
            self.streams.remove(&topic);
        } else {
            self.due.push(Reverse((again.max(now + SWEEP), topic)));
        }
    }

    /// There are too many streams: forget all that hold nothing, at most once a second.
    fn forget_idle(&mut self, now: Time) {
        if self.swept.is_some_and(|at| now.since(at) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        for Reverse((_, topic)) in std::mem::take(&mut self.due).into_vec() {
            self.look_at(topic, now, Duration::ZERO);
        }
    }
}

impl Stream {
    /// The newest publication of each key, of the newest `most` keys, oldest first.
    fn newest_by_key(&mut self, about: &About<'_>, most: usize) -> Vec<Publication> {
        let history = &self.history;
        let pointer = about.options.delivery.key.as_deref();
        let (top, len) = (history.position().offset, history.len());
        let holds =
            |known: &ByKey| (known.top, known.len, known.pointer.as_deref()) == (top, len, pointer);
        if !self.by_key.as_deref().is_some_and(holds) {
            let places = history.newest_by(|one| pace::key(one, pointer), most);
            self.by_key = Some(Box::new(ByKey {
                top,
                len,
                pointer: pointer.map(str::to_owned),
                places,
            }));
        }
        let places = self.by_key.iter().flat_map(|known| &known.places);
        places
            .filter_map(|place| history.at(*place))
            .cloned()
            .collect()
    }
}

/// What a subscriber gets where only the newest publication counts: that one, unless it has it.
fn newest_only(
    history: &History,
    recover: Option<Since<'_>>,
) -> (Option<Recovery>, Vec<Publication>) {
    let position = history.position();
    let has = |since: &Since<'_>| {
        since.offset == position.offset && since.epoch() == Some(position.epoch)
    };
    match (recover, history.newest()) {
        (None, newest) => (None, newest.cloned().into_iter().collect()),
        (Some(since), _) if has(&since) => (Some(Recovery::Complete(Vec::new())), Vec::new()),
        (Some(_), Some(newest)) => (Some(Recovery::Complete(vec![newest.clone()])), Vec::new()),
        (Some(_), None) => (Some(Recovery::Lost), Vec::new()),
    }
}

/// Entries of dropped publications that the log may always hold.
const LOG_SLACK: usize = 1_024;

/// A stream is looked at this often at most.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Namespace;
    use crate::publication::{Payload, RawJson, Tags};

    const PLAIN: BrokerRequest<'_> = BrokerRequest::Subscribe {
        recover: None,
        by_key: false,
    };

    struct Desk {
        memory: Memory,
        options: Namespace,
        now: Time,
        random: u64,
    }

    impl Desk {
        fn new(limits: HubLimits) -> Desk {
            Desk {
                memory: Memory::new(limits, Seed::new(1, 2)),
                options: Namespace::open(),
                now: Time::ZERO,
                random: 0,
            }
        }

        fn ask(&mut self, topic: &str, request: BrokerRequest<'_>) -> BrokerEvent {
            self.random += 1;
            let topic = TopicName::parse(topic).unwrap();
            let about = About {
                topic: &topic,
                options: &self.options,
            };
            self.memory.handle(&about, request, self.now, self.random)
        }

        /// The offsets of what a subscriber gets that does not ask to recover.
        fn newest(&mut self, topic: &str, by_key: bool) -> Vec<u64> {
            let request = BrokerRequest::Subscribe {
                recover: None,
                by_key,
            };
            match self.ask(topic, request) {
                BrokerEvent::Subscribed { newest, .. } => {
                    newest.iter().map(Publication::offset).collect()
                }
                _ => panic!("another answer"),
            }
        }

        fn publish(&mut self, topic: &str) -> Position {
            self.say(topic, "{\"n\":1}")
        }

        fn say(&mut self, topic: &str, data: &str) -> Position {
            let data = Payload::Json(RawJson::parse(data).unwrap());
            let draft = Draft {
                data: &data,
                info: None,
                tags: &Tags::new(),
            };
            match self.ask(topic, BrokerRequest::Publish { draft, keep: true }) {
                BrokerEvent::Published(_, position) => position,
                BrokerEvent::Refused(error) => panic!("{error:?}"),
                _ => panic!("another answer"),
            }
        }

        fn missed(&mut self, topic: &str, at: Position) -> Option<usize> {
            let epoch = at.epoch.to_string();
            let since = Since {
                offset: at.offset,
                epoch: &epoch,
            };
            match self.ask(
                topic,
                BrokerRequest::Subscribe {
                    recover: Some(since),
                    by_key: false,
                },
            ) {
                BrokerEvent::Subscribed {
                    recovery: Some(Recovery::Complete(missed)),
                    ..
                } => Some(missed.len()),
                BrokerEvent::Subscribed {
                    recovery: Some(Recovery::Lost),
                    ..
                } => None,
                _ => panic!("another answer"),
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now = self.now + Duration::from_secs(seconds);
            self.memory.expire(self.now);
        }
    }

    #[test]
    fn a_position_is_remembered_for_a_while_and_then_forgotten() {
        let mut desk = Desk::new(HubLimits::default());
        let first = desk.publish("a");
        desk.publish("a");
        assert_eq!(desk.missed("a", first), Some(1));
        desk.ask("a", BrokerRequest::Unsubscribe);
        desk.pass(599);
        assert_eq!(desk.memory.size().0, 1);
        desk.pass(1_200);
        assert_eq!(desk.memory.size(), (0, 0));
        assert!(desk.memory.due.is_empty());
        assert_eq!(desk.missed("a", first), None);
    }

    #[test]
    fn a_channel_with_subscribers_is_not_forgotten() {
        let mut desk = Desk::new(HubLimits::default());
        let position = desk.publish("a");
        assert_eq!(desk.missed("a", position), Some(0));
        for _ in 0..10 {
            desk.pass(600);
        }
        assert_eq!(desk.memory.size(), (1, 0));
        assert_eq!(desk.missed("a", position), Some(0));
    }

    #[test]
    fn all_histories_together_are_bounded_and_the_oldest_go_first() {
        let limits = HubLimits {
            worker_history: 4_000,
            ..HubLimits::default()
        };
        let mut desk = Desk::new(limits);
        let old = desk.publish("old");
        for n in 0..100 {
            desk.publish(&format!("room{}", n % 7));
            assert!(desk.memory.size().1 <= 4_000);
        }
        assert_eq!(desk.missed("old", Position { offset: 0, ..old }), None);
        assert_eq!(desk.missed("old", old), Some(0));
    }

    #[test]
    fn the_log_of_publications_does_not_grow_behind_an_old_one() {
        let mut desk = Desk::new(HubLimits::default());
        desk.publish("quiet");
        desk.options.history_size = 3;
        for _ in 0..10_000 {
            desk.publish("busy");
        }
        assert!(desk.memory.log.len() <= 2 * desk.memory.kept + LOG_SLACK + 1);
        assert_eq!(desk.memory.kept, 4);
    }

    #[test]
    fn too_many_channels_are_refused_until_some_are_idle() {
        let mut desk = Desk::new(HubLimits {
            streams: 3,
            ..HubLimits::default()
        });
        for topic in ["a", "b", "c"] {
            desk.ask(topic, PLAIN);
        }
        let refused = desk.ask("d", PLAIN);
        assert!(matches!(
            refused,
            BrokerEvent::Refused(ClientError::LIMIT_EXCEEDED)
        ));
        desk.ask("b", BrokerRequest::Unsubscribe);
        desk.pass(1);
        let taken = desk.ask("d", PLAIN);
        assert!(matches!(
            taken,
            BrokerEvent::Subscribed {
                position: Some(_),
                recovery: None,
                ..
            }
        ));
        assert_eq!(desk.memory.size().0, 3);
        assert_eq!(desk.memory.due.len(), 3);
    }

    #[test]
    fn a_cleared_history_keeps_its_position() {
        let mut desk = Desk::new(HubLimits::default());
        let first = desk.publish("a");
        let second = desk.publish("a");
        assert!(matches!(
            desk.ask("a", BrokerRequest::Clear),
            BrokerEvent::Cleared
        ));
        assert_eq!(desk.memory.size(), (1, 0));
        assert_eq!(desk.missed("a", first), None);
        assert_eq!(desk.missed("a", second), Some(0));
        assert_eq!(desk.publish("a").offset, 3);
    }

    #[test]
    fn a_cache_gives_the_newest_to_whoever_does_not_have_it() {
        let mut desk = Desk::new(HubLimits::default());
        desk.options.recovery = RecoveryMode::Cache;
        let first = desk.publish("a");
        let second = desk.publish("a");
        let far = Position { offset: 0, ..first };
        assert_eq!(desk.missed("a", far), Some(1));
        assert_eq!(desk.missed("a", first), Some(1));
        assert_eq!(desk.missed("a", second), Some(0));
        assert_eq!(desk.newest("a", false), [2]);
    }

    #[test]
    fn a_cache_gives_the_newest_of_each_key_to_whoever_is_conflated() {
        let mut desk = Desk::new(HubLimits {
            keys: 3,
            ..HubLimits::default()
        });
        desk.options.recovery = RecoveryMode::Cache;
        desk.options.delivery.key = Some("/s".to_owned());
        assert_eq!(desk.newest("a", true), [0_u64; 0]);
        for key in [1, 2, 1, 3, 3] {
            desk.say("a", &format!("{{\"s\":{key}}}"));
        }
        for _ in 0..2 {
            assert_eq!(desk.newest("a", true), [2, 3, 5]);
            assert_eq!(desk.newest("a", false), [5]);
        }
        desk.say("a", "{\"s\":4}");
        assert_eq!(
            desk.newest("a", true),
            [3, 5, 6],
            "of the newest three keys"
        );
        desk.options.delivery.key = None;
        assert_eq!(desk.newest("a", true), [6], "one key for all");
        desk.options.delivery.key = Some("/s".to_owned());
        desk.pass(601);
        assert_eq!(desk.newest("a", true), [0_u64; 0], "they are too old");
        desk.say("a", "{\"s\":1}");
        assert_eq!(desk.newest("a", true), [7]);
        desk.ask("a", BrokerRequest::Clear);
        assert_eq!(desk.newest("a", true), [0_u64; 0]);
    }

    #[test]
    fn history_of_another_epoch_is_unrecoverable() {
        let mut desk = Desk::new(HubLimits::default());
        let position = desk.publish("a");
        let own = position.epoch.to_string();
        for (epoch, taken) in [
            (None, true),
            (Some(""), true),
            (Some(own.as_str()), true),
            (Some("x"), false),
        ] {
            let answer = desk.ask(
                "a",
                BrokerRequest::History {
                    epoch,
                    page: Page::default(),
                },
            );
            assert_eq!(
                matches!(answer, BrokerEvent::History(_)),
                taken,
                "{epoch:?}"
            );
        }
    }
}
