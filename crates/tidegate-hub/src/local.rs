//! The members that this worker's clients are in channels, by slot. It knows nothing of other workers.

use crate::seed::Seed;
use crate::session::Sessions;
use crate::topic::TopicName;
use std::collections::HashMap;

/// For each channel the slots of the members here. A member's own subscription holds its index, so that
/// leaving costs the same however many members there are.
pub(crate) struct LocalMembers(HashMap<TopicName, Vec<u32>, Seed>);

impl LocalMembers {
    pub(crate) fn new(seed: Seed) -> LocalMembers {
        LocalMembers(HashMap::with_hasher(seed))
    }

    /// Adds a member; the answer is its index.
    pub(crate) fn add(&mut self, topic: &TopicName, slot: u32) -> usize {
        let members = self.0.entry(topic.clone()).or_default();
        members.push(slot);
        members.len() - 1
    }

    /// Removes the member with this index. The last one takes its place and is told so.
    pub(crate) fn remove(&mut self, topic: &TopicName, index: usize, sessions: &mut Sessions) {
        let Some(members) = self.0.get_mut(topic) else {
            return;
        };
        members.swap_remove(index);
        if let Some(moved) = members.get(index) {
            let sub = sessions.in_slot(*moved).and_then(|s| s.sub_mut(topic));
            if let Some(sub) = sub {
                sub.member = Some(index);
            }
        }
        if members.is_empty() {
            self.0.remove(topic);
        }
    }

    /// The members of a channel, for as long as they are walked through: one look-up, not one a member.
    pub(crate) fn lend(&mut self, topic: &TopicName) -> Vec<u32> {
        self.0
            .get_mut(topic)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Gives back what [`LocalMembers::lend`] gave.
    pub(crate) fn restore(&mut self, topic: &TopicName, members: Vec<u32>) {
        if let Some(place) = self.0.get_mut(topic) {
            debug_assert!(
                place.is_empty(),
                "members changed while they were walked through"
            );
            *place = members;
        }
    }

    /// Removes all members of a channel.
    pub(crate) fn take(&mut self, topic: &TopicName) -> Vec<u32> {
        self.0.remove(topic).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
