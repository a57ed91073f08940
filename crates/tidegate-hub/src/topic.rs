//! Names of channels, which worker is home to one, and who is there; it never sends anything itself.

use crate::news::News;
use crate::presence::Presence;
use std::fmt;
use std::sync::Arc;
use tidegate_proto::WorkerId;

/// Longest name of a channel, in bytes.
pub const MAX_NAME: usize = 255;

/// The name of a channel: 1 to 255 bytes of UTF-8 without control characters. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A channel's name was empty, longer than [`MAX_NAME`], or held a control character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a channel's name has 1 to 255 bytes and no control characters")
    }
}

impl std::error::Error for BadName {}

impl TopicName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadName`] says which names are not taken.
    pub fn parse(name: &str) -> Result<TopicName, BadName> {
        let fits = (1..=MAX_NAME).contains(&name.len());
        if fits && !name.chars().any(char::is_control) {
            Ok(TopicName(name.into()))
        } else {
            Err(BadName)
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `:`, if there is one, without the `$` of private channels.
    pub fn namespace(&self) -> Option<&str> {
        let (namespace, _) = self.0.split_once(':')?;
        Some(namespace.strip_prefix('$').unwrap_or(namespace))
    }

    /// Whether it begins with `$`: nobody subscribes to it without a subscription token.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether its name lets this user in: `dialog#42,43` is for the users 42 and 43. A name without a
    /// `#` is for all.
    pub fn admits(&self, user: &str) -> bool {
        match self.0.rsplit_once('#') {
            None => true,
            Some((_, users)) => !user.is_empty() && users.split(',').any(|one| one == user),
        }
    }

    /// The worker that gives this channel its order: FNV-1a (64 bits) of the name, modulo the number of
    /// workers. It depends on nothing else, so that every worker and the control plane agree.
    pub fn home(&self, workers: usize) -> WorkerId {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.0.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // The low bits of FNV are its weakest; fold the high half in.
        let folded = hash ^ (hash >> 32);
        let workers = u64::try_from(workers.max(1)).unwrap_or(1);
        WorkerId(u16::try_from(folded % workers).unwrap_or(0))
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name fits a pattern, in which `*` stands for any characters.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A channel as its home sees it: how many members each worker has, and who they are.
#[derive(Default)]
pub(crate) struct Topic {
    pub(crate) workers: Vec<Members>,
    pub(crate) presence: Presence,
    /// How many want to be told who comes and goes.
    pub(crate) listeners: usize,
    pub(crate) news: News,
    /// The members' workers will be told where the channel stands.
    pub(crate) checked: bool,
}

/// The members that one worker has in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Members {
    pub(crate) worker: WorkerId,
    pub(crate) count: u32,
    /// Whether the worker gets publications. It turns false when one could not be mailed; the worker is
    /// then told to make its members recover, and the next of its members to subscribe turns it on again.
    pub(crate) live: bool,
}

impl Topic {
    /// A member comes, which wants to be told who does, or not.
    pub(crate) fn enter(&mut self, worker: WorkerId, listens: bool) {
        self.listeners += usize::from(listens);
        match self.workers.iter_mut().find(|m| m.worker == worker) {
            Some(members) => {
                members.count += 1;
                members.live = true;
            }
            None => self.workers.push(Members {
                worker,
                count: 1,
                live: true,
            }),
        }
    }

    /// A member that came goes.
    pub(crate) fn leave(&mut self, worker: WorkerId, listens: bool) {
        if let Some(at) = self.workers.iter().position(|m| m.worker == worker) {
            self.listeners -= usize::from(listens);
            self.workers[at].count -= 1;
            if self.workers[at].count == 0 {
                self.workers.swap_remove(at);
            }
        }
    }

    /// Nobody is subscribed.
    pub(crate) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// How many are subscribed.
    pub(crate) fn members(&self) -> usize {
        self.workers
            .iter()
            .map(|members| members.count as usize)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "x".repeat(255);
        for good in ["a", "chat:tea", "日本", "with space", longest.as_str()] {
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        let too_long = "x".repeat(256);
        for bad in ["", "a\nb", "\u{7f}", "a\0", "\u{85}", too_long.as_str()] {
            assert_eq!(TopicName::parse(bad), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn names_say_who_may_come_in() {
        let rows = [
            ("chat:tea", "ann", true, Some("chat")),
            ("chat:tea", "", true, Some("chat")),
            ("dialog#ann", "ann", true, None),
            ("dialog#ann", "bob", false, None),
            ("dialog#ann,bob", "bob", true, None),
            ("dialog#ann,bob", "ann,bob", false, None),
            ("dialog#", "", false, None),
            ("a#b:c#ann", "ann", true, Some("a#b")),
            ("$chat:x", "ann", true, Some("chat")),
        ];
        for (name, user, admitted, namespace) in rows {
            let topic = TopicName::parse(name).unwrap();
            assert_eq!(topic.admits(user), admitted, "{name} {user}");
            assert_eq!(topic.namespace(), namespace, "{name}");
            assert_eq!(topic.is_private(), name.starts_with('$'));
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let rows = [
            ("*", "chat:tea", true),
            ("chat:*", "chat:tea", true),
            ("chat:*", "game:tea", false),
            ("*tea", "chat:tea", true),
            ("c*t:*a", "chat:tea", true),
            ("c*t:*x", "chat:tea", false),
            ("chat:tea", "chat:tea", true),
            ("chat", "chat:tea", false),
            ("*a*a*", "banana", true),
            ("a**b", "ab", true),
            ("ab*ba", "aba", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn homes_are_stable_and_spread() {
        // FNV-1a of "a" is af63dc4c8601ec8c; folded with its high half: ...29_6230c0 mod 4 = 0.
        let a = TopicName::parse("a").unwrap();
        let folded: u64 = 0xaf63_dc4c_8601_ec8c ^ 0xaf63_dc4c;
        assert_eq!(a.home(4), WorkerId((folded % 4) as u16));
        let mut seen = [0; 4];
        for n in 0..400 {
            let topic = TopicName::parse(&format!("room:{n}")).unwrap();
            assert_eq!(topic.home(1), WorkerId(0));
            seen[usize::from(topic.home(4).0)] += 1;
        }
        assert!(seen.iter().all(|n| (60..140).contains(n)), "{seen:?}");
    }

    #[test]
    fn a_worker_that_lags_is_live_again_with_its_next_member() {
        let (here, there) = (WorkerId(0), WorkerId(3));
        let mut topic = Topic::default();
        topic.enter(here, true);
        topic.enter(there, false);
        topic.workers[1].live = false;
        topic.enter(there, false);
        assert_eq!(topic.workers[1].count, 2);
        assert!(topic.workers[1].live);
        assert_eq!(topic.listeners, 1);
        for worker in [there, there, here] {
            assert!(!topic.is_empty());
            topic.leave(worker, worker == here);
        }
        assert!(topic.is_empty());
        assert_eq!(topic.listeners, 0);
        topic.leave(here, true); // unknown: nothing to do
    }
}
