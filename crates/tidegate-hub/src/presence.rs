//! Who is in a channel: a list by user and client, and counts that cost nothing. It only counts; telling
//! others is the shard's.

use crate::publication::ClientInfo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::Time;

/// The clients of one channel, with the number of different users among them.
#[derive(Default)]
pub(crate) struct Presence {
    members: BTreeMap<(Arc<str>, u128), Arc<ClientInfo>>,
    /// Users whose last connection is gone, but who are not yet said to be.
    lingering: BTreeMap<Arc<str>, Lingering>,
    users: usize,
    bytes: usize,
}

struct Lingering {
    until: Time,
    info: Arc<ClientInfo>,
}

/// How many are in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PresenceStats {
    /// Connections.
    pub clients: usize,
    /// Different users among them, and those whose leave is held back; all anonymous clients are one user.
    pub users: usize,
}

/// What counts as coming and going in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    /// A user comes with its first connection and goes with its last.
    pub(crate) by_user: bool,
    /// It goes this much later.
    pub(crate) grace: Duration,
}

/// What became of a leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// It was not there.
    Unknown,
    /// Somebody is gone, and the others may be told.
    Gone,
    /// A connection is gone, but its user is not.
    Stays,
    /// The user is gone unless it comes back before then: see [`Presence::over`].
    Lingers(Time),
}

impl Presence {
    /// Adds a client; true if somebody has come whom the others do not know to be there.
    pub(crate) fn join(&mut self, info: &Arc<ClientInfo>, rule: Rule) -> bool {
        let user = Arc::clone(info.user());
        let first = !self.has_user(&user);
        let key = (Arc::clone(&user), info.id());
        if let Some(before) = self.members.insert(key, Arc::clone(info)) {
            self.bytes = self.bytes - before.json().len() + info.json().len();
            return false;
        }
        self.bytes += info.json().len();
        self.users += usize::from(first);
        let lingered = self.lingering.remove(&user);
        if let Some(lingering) = &lingered {
            self.bytes -= lingering.info.json().len();
        }
        let anonymous = user.is_empty();
        !rule.by_user || anonymous || (first && lingered.is_none())
    }

    /// Removes a client.
    pub(crate) fn leave(&mut self, info: &ClientInfo, rule: Rule, now: Time) -> Left {
        let user = Arc::clone(info.user());
        let Some(known) = self.members.remove(&(Arc::clone(&user), info.id())) else {
            return Left::Unknown;
        };
        self.bytes -= known.json().len();
        let last = !self.has_user(&user);
        self.users -= usize::from(last);
        if !rule.by_user || user.is_empty() {
            Left::Gone
        } else if !last {
            Left::Stays
        } else if rule.grace.is_zero() {
            Left::Gone
        } else {
            let until = now + rule.grace;
            self.bytes += known.json().len();
            self.lingering
                .insert(user, Lingering { until, info: known });
            Left::Lingers(until)
        }
    }

    /// A user's grace is over: who is gone now, if it has not come back or left later again.
    pub(crate) fn over(&mut self, user: &str, now: Time) -> Option<Arc<ClientInfo>> {
        if self.lingering.get(user)?.until > now {
            return None;
        }
        let gone = self.lingering.remove(user)?;
        self.bytes -= gone.info.json().len();
        Some(gone.info)
    }

    pub(crate) fn stats(&self) -> PresenceStats {
        PresenceStats {
            clients: self.members.len(),
            users: self.users + self.lingering.len(),
        }
    }

    /// Everyone, or one connection of each user, unless their descriptions are longer than `most` bytes
    /// in sum.
    pub(crate) fn list(&self, most: usize, by_user: bool) -> Option<Vec<Arc<ClientInfo>>> {
        if self.bytes > most {
            return None;
        }
        let mut list: Vec<Arc<ClientInfo>> = Vec::with_capacity(self.members.len());
        for info in self.members.values() {
            let again = list
                .last()
                .is_some_and(|before| before.user() == info.user());
            if !(by_user && again && !info.user().is_empty()) {
                list.push(Arc::clone(info));
            }
        }
        list.extend(self.lingering.values().map(|one| Arc::clone(&one.info)));
        Some(list)
    }

    /// Nobody is here, nor said to be.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.lingering.is_empty()
    }

    fn has_user(&self, user: &Arc<str>) -> bool {
        let all = (Arc::clone(user), 0)..=(Arc::clone(user), u128::MAX);
        self.members.range(all).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Rule = Rule {
        by_user: false,
        grace: Duration::ZERO,
    };
    const USERS: Rule = Rule {
        by_user: true,
        grace: Duration::ZERO,
    };
    const GRACE: Rule = Rule {
        by_user: true,
        grace: Duration::from_secs(15),
    };

    fn info(id: u128, user: &str) -> Arc<ClientInfo> {
        Arc::new(ClientInfo::new(id, user, None))
    }

    fn stats(clients: usize, users: usize) -> PresenceStats {
        PresenceStats { clients, users }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn users_are_counted_once_and_leave_with_their_last_connection() {
        let (ann, ann_too, bob) = (info(1, "ann"), info(2, "ann"), info(3, "bob"));
        let mut presence = Presence::default();
        for one in [&ann, &ann_too, &bob] {
            assert!(presence.join(one, EACH));
        }
        assert!(!presence.join(&bob, EACH));
        assert_eq!(presence.stats(), stats(3, 2));
        assert_eq!(presence.leave(&ann, EACH, at(0)), Left::Gone);
        assert_eq!(presence.leave(&ann, EACH, at(0)), Left::Unknown);
        assert_eq!(presence.stats(), stats(2, 2));
        assert_eq!(presence.leave(&ann_too, EACH, at(0)), Left::Gone);
        assert_eq!(presence.stats(), stats(1, 1));
        assert_eq!(presence.leave(&bob, EACH, at(0)), Left::Gone);
        assert_eq!(presence.stats(), stats(0, 0));
        assert_eq!(presence.bytes, 0);
        assert!(presence.is_empty());
    }

    #[test]
    fn by_user_only_the_first_and_the_last_connection_are_news() {
        let (one, two) = (info(1, "ann"), info(2, "ann"));
        let mut presence = Presence::default();
        assert!(presence.join(&one, USERS));
        assert!(!presence.join(&two, USERS));
        assert_eq!(presence.list(usize::MAX, true).unwrap().len(), 1);
        assert_eq!(presence.list(usize::MAX, false).unwrap().len(), 2);
        assert_eq!(presence.leave(&one, USERS, at(0)), Left::Stays);
        assert_eq!(presence.leave(&two, USERS, at(0)), Left::Gone);
        // Who has no name cannot be the same one.
        let (ghost, other) = (info(3, ""), info(4, ""));
        assert!(presence.join(&ghost, GRACE) && presence.join(&other, GRACE));
        assert_eq!(presence.list(usize::MAX, true).unwrap().len(), 2);
        assert_eq!(presence.leave(&ghost, GRACE, at(0)), Left::Gone);
    }

    #[test]
    fn a_user_that_comes_back_in_time_was_never_gone() {
        let mut presence = Presence::default();
        assert!(presence.join(&info(1, "ann"), GRACE));
        assert_eq!(
            presence.leave(&info(1, "ann"), GRACE, at(0)),
            Left::Lingers(at(15))
        );
        assert_eq!(presence.stats(), stats(0, 1));
        assert_eq!(presence.list(usize::MAX, true).unwrap().len(), 1);
        assert_eq!(presence.over("ann", at(14)), None);
        assert!(!presence.join(&info(2, "ann"), GRACE));
        assert_eq!(presence.over("ann", at(15)), None);
        assert_eq!(presence.stats(), stats(1, 1));
        presence.leave(&info(2, "ann"), GRACE, at(20));
        assert_eq!(presence.over("ann", at(34)), None);
        assert_eq!(presence.over("ann", at(35)).unwrap().id(), 2);
        assert!(presence.is_empty());
        assert_eq!(presence.bytes, 0);
        assert!(presence.join(&info(3, "ann"), GRACE));
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_whole() {
        let mut presence = Presence::default();
        for id in 0..10 {
            presence.join(&info(id, ""), EACH);
        }
        let size = presence.bytes;
        assert_eq!(presence.list(size, false).map(|list| list.len()), Some(10));
        assert!(presence.list(size - 1, false).is_none());
    }
}
