//! [`Behaviour`]: what no single message shows: guessing, trying rooms, sending again, too much of one kind, the wrong
//! order. It counts by identity and by address, so that a new connection is no new start. Time and the hash come in as
//! arguments; memory is one table of a fixed size.
//!
//! The table has places for [`BehaviourRules::entries`] counters, four to a bucket. When a bucket is full the counter that
//! was used longest ago gives way: it then counts from zero. A keyed hash keeps an attacker from choosing the bucket.

mod fields;
mod shared;
mod table;

pub(crate) use shared::Counters;
pub use shared::{Behaviours, Keyed};

use super::inspector::{Direction, Finding};
use super::rate::{Meter, Rate};
use super::rules::Mode;
use fields::Fields;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tidegate_proto::{CloseCode, Time};

/// What is watched. Where a list is empty nothing is.
///
/// ```toml
/// [behaviour]
/// type_at = "/type"                   # the member that says what kind of message it is
/// entries = 65536                     # counters kept
///
/// [[behaviour.failures]]      # brute force
/// request = "login"                   # messages of that kind
/// failure = { at = "/ok", is = "false" }   # whose answer says this
/// limit = 30                          # so many in
/// window = "60s"
/// block = "300s"                      # end the connection and refuse new ones for so long
///
/// [[behaviour.members]]       # other people's rooms
/// at = "/room"                        # what the message names
/// claim = "rooms"                     # must stand in that claim of the token
/// limit = 20                          # so many different ones that do not, in a minute, end the connection
///
/// [behaviour.replay]
/// id_at = "/id"
/// time_at = "/ts"                     # milliseconds since 1970; optional
/// window = "300s"
///
/// [[behaviour.rates]]         # too much of a kind
/// kind = "chat"
/// per_second = 5
/// burst = 10
/// grace = 20                          # so many are dropped in a row before the connection ends
///
/// [[behaviour.order]]
/// first = "login"
/// then = ["join", "chat"]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviourRules {
    /// Off, monitor or block; in monitor everything passes and is told. Default: monitor.
    pub mode: Mode,
    /// A JSON pointer to what says which kind a message is. Default: `/type`.
    pub type_at: String,
    /// Counters kept, at about 170 bytes each. Default: 65,536, which is 11 MiB.
    pub entries: usize,
    /// Brute force.
    pub failures: Vec<Failures>,
    /// Names that must stand in a claim.
    pub members: Vec<Members>,
    /// Messages that come again.
    pub replay: Option<Replay>,
    /// Rates of kinds.
    pub rates: Vec<KindRate>,
    /// What must come first.
    pub order: Vec<Order>,
}

impl Default for BehaviourRules {
    fn default() -> BehaviourRules {
        BehaviourRules {
            mode: Mode::Monitor,
            type_at: "/type".to_owned(),
            entries: 65_536,
            failures: Vec::new(),
            members: Vec::new(),
            replay: None,
            rates: Vec::new(),
            order: Vec::new(),
        }
    }
}

/// Requests that fail too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The kind of the request.
    pub request: String,
    /// A JSON pointer into the answer, and the value there that says it failed, as it is spelt.
    pub failure: (String, String),
    /// Failures.
    pub limit: u32,
    /// In which they are counted.
    pub window: Duration,
    /// For which nothing of that identity and of that address is taken.
    pub block: Duration,
}

/// A name that a message may only use when a claim has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// A JSON pointer to the name.
    pub at: String,
    /// The claim.
    pub claim: String,
    /// Different names that are not in it, in a minute, after which the connection ends. At most 32.
    pub limit: u32,
}

/// Messages that may come once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// A JSON pointer to what makes a message unique.
    pub id_at: String,
    /// A JSON pointer to its time in milliseconds since 1970; one that is further from now than the window is refused.
    pub time_at: Option<String>,
    /// For which an identity's ids are remembered.
    pub window: Duration,
}

/// How many messages of a kind an identity may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRate {
    /// The kind.
    pub kind: String,
    /// So many.
    pub rate: Rate,
    /// Messages dropped in a row before the connection ends.
    pub grace: u32,
}

/// A kind that must have come before others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Comes first.
    pub first: String,
    /// Only after it.
    pub then: Vec<String>,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// From the credential; empty for nobody, who is only counted by address.
    pub identity: &'a str,
    /// The peer's address, of IPv6 its /64.
    pub address: &'a str,
    /// Names by claim.
    pub claims: &'a [(String, Vec<String>)],
}

/// What is remembered of one connection.
#[derive(Clone, Default, Debug)]
pub struct Conversation {
    /// Which requests of [`BehaviourRules::failures`] wait for an answer.
    asked: Vec<u32>,
    /// Which first messages of [`BehaviourRules::order`] have come, as bits.
    came: u64,
}

/// What is to be done with a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// It passes.
    Pass,
    /// It passes, and this is worth an audit event.
    Monitor(Finding),
    /// It does not pass; the connection stays.
    Drop(Finding),
    /// It does not pass, and the connection ends.
    Close(Finding),
}

/// A counter.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Count {
        since: Time,
        count: u32,
    },
    Blocked {
        until: Time,
    },
    Names {
        since: Time,
        names: [u32; 32],
        count: u8,
    },
    Seen,
    Rate {
        meter: Meter,
        dropped: u32,
    },
}

/// Counts what peers do.
#[derive(Debug)]
pub struct Behaviour<S> {
    rules: Arc<BehaviourRules>,
    hasher: S,
    table: Table<Entry>,
}

impl<S: BuildHasher> Behaviour<S> {
    /// Watches by rules. The hash must be keyed with something that no peer knows.
    pub fn new(rules: BehaviourRules, hasher: S) -> Behaviour<S> {
        Behaviour {
            table: Table::new(rules.entries),
            rules: Arc::new(rules),
            hasher,
        }
    }

    /// Puts other rules in force. What was counted counts on, unless the table has another size.
    pub fn set_rules(&mut self, rules: &BehaviourRules) {
        if *self.rules == *rules {
            return;
        }
        if self.rules.entries != rules.entries {
            self.table = Table::new(rules.entries);
        }
        self.rules = Arc::new(rules.clone());
    }

    /// Whether a new connection is taken: not while its identity or its address is blocked. An answer is 429.
    pub fn admits(&mut self, who: &Who<'_>, now: Time) -> bool {
        self.rules.mode != Mode::Block || !self.is_blocked(who, now)
    }

    /// Judges a message and remembers it.
    pub fn message(
        &mut self,
        direction: Direction,
        who: &Who<'_>,
        conversation: &mut Conversation,
        message: &[u8],
        now: Time,
    ) -> Act {
        if self.rules.mode == Mode::Off {
            return Act::Pass;
        }
        let act = match direction {
            Direction::ToServer => self.request(who, conversation, message, now),
            Direction::ToClient => self.answer(who, conversation, message, now),
        };
        match act {
            Act::Drop(finding) | Act::Close(finding) if self.rules.mode == Mode::Monitor => {
                Act::Monitor(finding)
            }
            act => act,
        }
    }

    fn request(
        &mut self,
        who: &Who<'_>,
        conversation: &mut Conversation,
        message: &[u8],
        now: Time,
    ) -> Act {
        if self.is_blocked(who, now) {
            return Act::Close(finding(
                "behaviour-failures",
                "",
                "too many failures before",
            ));
        }
        let rules = Arc::clone(&self.rules);
        let fields = Fields::of(message, &wanted(&rules));
        let kind = fields.at(&rules.type_at).unwrap_or_default();
        let act = self.order(kind, conversation);
        let act = act.or_else(|| self.members(who, &fields, now));
        let act = act.or_else(|| self.replay(who, &fields, now));
        let act = act.or_else(|| self.rate(who, kind, now));
        if act.is_none() {
            self.note_asked(kind, conversation);
        }
        act.unwrap_or(Act::Pass)
    }

    fn order(&self, kind: &str, conversation: &mut Conversation) -> Option<Act> {
        for (bit, rule) in self.rules.order.iter().enumerate().take(64) {
            if rule.first == kind {
                conversation.came |= 1 << bit;
            } else if conversation.came & (1 << bit) == 0 && rule.then.iter().any(|k| k == kind) {
                let why = "what must come first has not come";
                return Some(Act::Close(finding(
                    "behaviour-order",
                    &self.rules.type_at,
                    why,
                )));
            }
        }
        None
    }

    fn members(&mut self, who: &Who<'_>, fields: &Fields<'_>, now: Time) -> Option<Act> {
        for place in 0..self.rules.members.len() {
            let rule = &self.rules.members[place];
            let Some(name) = fields.at(&rule.at) else {
                continue;
            };
            let claim = who.claims.iter().find(|(claim, _)| *claim == rule.claim);
            if claim.is_some_and(|(_, names)| names.iter().any(|known| known == name)) {
                continue;
            }
            let (limit, at) = (rule.limit.clamp(1, 32), rule.at.clone());
            let denied = finding("behaviour-members", &at, "a name that no claim has");
            let name = self.hasher.hash_one(name) as u32;
            let key = self.key(("members", place, subject(who)));
            let distinct = self.distinct(key, name, now);
            return Some(if distinct >= limit {
                Act::Close(finding(
                    "behaviour-enumeration",
                    &at,
                    "many names that no claim has",
                ))
            } else {
                Act::Drop(denied)
            });
        }
        None
    }

    /// How many different names there were in this minute.
    fn distinct(&mut self, key: u64, name: u32, now: Time) -> u32 {
        let fresh = Entry::Names {
            since: now,
            names: [0; 32],
            count: 0,
        };
        let entry = self.table.entry(key, now, fresh);
        if let Entry::Names { since, .. } = entry {
            if now.since(*since) >= MINUTE {
                *entry = fresh;
            }
        }
        let Entry::Names { names, count, .. } = entry else {
            return 0;
        };
        let known = &names[..usize::from(*count)];
        if !known.contains(&name) && usize::from(*count) < names.len() {
            names[usize::from(*count)] = name;
            *count += 1;
        }
        u32::from(*count)
    }

    fn replay(&mut self, who: &Who<'_>, fields: &Fields<'_>, now: Time) -> Option<Act> {
        let rule = self.rules.replay.as_ref()?;
        let (window, id_at) = (rule.window, rule.id_at.clone());
        if let Some(at) = &rule.time_at {
            let sent = fields.at(at).and_then(|text| text.parse::<u64>().ok());
            let off = sent.map_or(u64::MAX, |sent| sent.abs_diff(now.unix_millis()));
            if u128::from(off) > window.as_millis() {
                let why = "sent too long ago, or in the future";
                return Some(Act::Drop(finding("behaviour-replay", at, why)));
            }
        }
        let id = fields.at(&id_at)?;
        let key = self.key(("replay", subject(who), id));
        match self.table.last_used(key) {
            Some(before) if now.since(before) < window => {
                let why = "the same message again";
                Some(Act::Drop(finding("behaviour-replay", &id_at, why)))
            }
            _ => {
                self.table.entry(key, now, Entry::Seen);
                None
            }
        }
    }

    fn rate(&mut self, who: &Who<'_>, kind: &str, now: Time) -> Option<Act> {
        let place = self.rules.rates.iter().position(|rule| rule.kind == kind)?;
        let KindRate { rate, grace, .. } = self.rules.rates[place].clone();
        let key = self.key(("rate", place, subject(who)));
        let fresh = Entry::Rate {
            meter: Meter::default(),
            dropped: 0,
        };
        let Entry::Rate { meter, dropped } = self.table.entry(key, now, fresh) else {
            return None;
        };
        if meter.take(rate, 1, now) {
            *dropped = 0;
            return None;
        }
        *dropped += 1;
        let found = finding("behaviour-rate", "", "too many messages of this kind");
        Some(if *dropped > grace {
            Act::Close(found)
        } else {
            Act::Drop(found)
        })
    }

    fn note_asked(&self, kind: &str, conversation: &mut Conversation) {
        conversation.asked.resize(self.rules.failures.len(), 0);
        let rules = self.rules.failures.iter();
        for (rule, asked) in rules.zip(&mut conversation.asked) {
            *asked = asked.saturating_add(u32::from(rule.request == kind));
        }
    }

    fn answer(
        &mut self,
        who: &Who<'_>,
        conversation: &mut Conversation,
        message: &[u8],
        now: Time,
    ) -> Act {
        for place in 0..self.rules.failures.len().min(conversation.asked.len()) {
            if conversation.asked[place] == 0 {
                continue;
            }
            let rule = self.rules.failures[place].clone();
            let fields = Fields::of(message, &[&rule.failure.0]);
            let Some(outcome) = fields.at(&rule.failure.0) else {
                continue;
            };
            conversation.asked[place] -= 1;
            if outcome == rule.failure.1 && self.fails(place, &rule, who, now) {
                let why = "too many failures";
                return Act::Close(finding("behaviour-failures", &rule.failure.0, why));
            }
        }
        Act::Pass
    }

    /// Counts a failure; true when it was one too many.
    fn fails(&mut self, place: usize, rule: &Failures, who: &Who<'_>, now: Time) -> bool {
        let mut over = false;
        for (name, subject) in subjects(who) {
            let key = self.key(("failures", place, name, subject));
            let fresh = Entry::Count {
                since: now,
                count: 0,
            };
            let entry = self.table.entry(key, now, fresh);
            if matches!(entry, Entry::Count { since, .. } if now.since(*since) >= rule.window) {
                *entry = fresh;
            }
            let Entry::Count { count, .. } = entry else {
                continue;
            };
            *count += 1;
            if *count >= rule.limit {
                *entry = fresh;
                over = true;
                let until = now + rule.block;
                let blocked = self.key(("blocked", name, subject));
                *self.table.entry(blocked, now, Entry::Blocked { until }) =
                    Entry::Blocked { until };
            }
        }
        over
    }

    fn is_blocked(&mut self, who: &Who<'_>, now: Time) -> bool {
        subjects(who).any(|(name, subject)| {
            let key = self.key(("blocked", name, subject));
            matches!(self.table.get(key), Some(Entry::Blocked { until }) if now < *until)
        })
    }

    fn key(&self, parts: impl Hash) -> u64 {
        self.hasher.hash_one(parts)
    }
}

/// The pointers that rules ask for.
fn wanted(rules: &BehaviourRules) -> Vec<&str> {
    let mut wanted = vec![rules.type_at.as_str()];
    wanted.extend(rules.members.iter().map(|rule| rule.at.as_str()));
    wanted.extend(rules.replay.iter().flat_map(|rule| {
        let time = rule.time_at.as_deref();
        [Some(rule.id_at.as_str()), time].into_iter().flatten()
    }));
    wanted
}

/// Who is counted: the identity, and who has none by address.
fn subject<'a>(who: &Who<'a>) -> &'a str {
    if who.identity.is_empty() {
        who.address
    } else {
        who.identity
    }
}

/// Everything that is counted of a peer.
fn subjects<'a>(who: &Who<'a>) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
    let both = [("identity", who.identity), ("address", who.address)];
    both.into_iter().filter(|(_, subject)| !subject.is_empty())
}

fn finding(rule: &'static str, pointer: &str, why: &'static str) -> Finding {
    Finding {
        rule,
        family: "behaviour",
        pointer: pointer.to_owned(),
        in_key: false,
        why: Cow::Borrowed(why),
        layers: 0,
        mode: Mode::Block,
        close: CloseCode::POLICY,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
