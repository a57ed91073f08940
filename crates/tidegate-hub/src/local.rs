//! The members that this worker's clients are in channels, by slot. It knows nothing of other workers.

use crate::codec::Form;
use crate::pace::Pace;
use crate::publication::{Epoch, Position};
use crate::seed::Seed;
use crate::session::{Member, Sessions, Wish};
use crate::topic::TopicName;
use std::collections::HashMap;
use tidegate_proto::PeerId;

/// For each channel the members here. A member's own subscription knows where it stands, so that leaving
/// costs the same however many members there are.
pub(crate) struct LocalMembers {
    topics: HashMap<TopicName, LocalTopic, Seed>,
    /// Channels with paced members, by the number that their timers carry.
    paced: Vec<Option<TopicName>>,
}

/// The members of one channel here.
#[derive(Default)]
pub(crate) struct LocalTopic {
    /// Those that get every publication.
    pub(crate) full: Vec<FullMember>,
    /// Those that get the newest ones at their own pace.
    pub(crate) pace: Option<Box<Pace>>,
    /// How far the channel's publications have come here; `None` where they have no offsets.
    position: Option<Position>,
}

/// A member that gets every publication. What a delivery needs to know of it stands here, side by side: looking its
/// session up for each would cost more than the rest of the delivery.
#[derive(Clone, Copy)]
pub(crate) struct FullMember {
    pub(crate) peer: PeerId,
    pub(crate) form: Form,
    pub(crate) join_leave: bool,
}

impl LocalTopic {
    fn is_empty(&self) -> bool {
        self.full.is_empty()
            && self
                .pace
                .as_ref()
                .is_none_or(|pace| pace.members.is_empty())
    }
}

impl LocalMembers {
    pub(crate) fn new(seed: Seed) -> LocalMembers {
        LocalMembers {
            topics: HashMap::with_hasher(seed),
            paced: Vec::new(),
        }
    }

    /// Adds a member; the answer is where it stands.
    pub(crate) fn add(
        &mut self,
        topic: &TopicName,
        peer: PeerId,
        form: Form,
        wish: Wish,
    ) -> Member {
        let local = self.topics.entry(topic.clone()).or_default();
        if wish.hz == 0 {
            local.full.push(FullMember {
                peer,
                form,
                join_leave: wish.join_leave,
            });
            return Member {
                paced: false,
                index: last(local.full.len()),
            };
        }
        let pace = local.pace.get_or_insert_with(|| {
            let number = self.paced.iter().position(Option::is_none);
            let number = number.unwrap_or_else(|| {
                self.paced.push(None);
                self.paced.len() - 1
            });
            self.paced[number] = Some(topic.clone());
            Box::new(Pace::new(number))
        });
        Member {
            paced: true,
            index: last(pace.join(peer.slot(), wish)),
        }
    }

    /// Removes a member. The last one takes its place and is told so.
    pub(crate) fn remove(&mut self, topic: &TopicName, at: Member, sessions: &mut Sessions) {
        let Some(local) = self.topics.get_mut(topic) else {
            return;
        };
        let index = at.index as usize;
        let moved = match (&mut local.pace, at.paced) {
            (Some(pace), true) => pace.leave(index),
            (_, false) => {
                local.full.swap_remove(index);
                local.full.get(index).map(|member| member.peer.slot())
            }
            (None, true) => None,
        };
        let sub = moved
            .and_then(|slot| sessions.in_slot(slot))
            .and_then(|session| session.sub_mut(topic));
        if let Some(sub) = sub {
            sub.member = Some(at);
        }
        if local
            .pace
            .as_ref()
            .is_some_and(|pace| pace.members.is_empty())
        {
            free(&mut self.paced, local);
        }
        if local.is_empty() {
            self.topics.remove(topic);
        }
    }

    pub(crate) fn get_mut(&mut self, topic: &TopicName) -> Option<&mut LocalTopic> {
        self.topics.get_mut(topic)
    }

    /// The channel whose timers carry this number.
    pub(crate) fn paced(&self, number: usize) -> Option<&TopicName> {
        self.paced.get(number)?.as_ref()
    }

    /// The full members of a channel, for as long as they are walked through: one look-up, not one a
    /// member.
    pub(crate) fn lend(&mut self, topic: &TopicName) -> Vec<FullMember> {
        let local = self.topics.get_mut(topic);
        local
            .map(|local| std::mem::take(&mut local.full))
            .unwrap_or_default()
    }

    /// Gives back what [`LocalMembers::lend`] gave.
    pub(crate) fn restore(&mut self, topic: &TopicName, members: Vec<FullMember>) {
        if let Some(local) = self.topics.get_mut(topic) {
            debug_assert!(
                local.full.is_empty(),
                "members changed while they were walked through"
            );
            local.full = members;
        }
    }

    /// Removes all members of a channel; the answer is their slots.
    pub(crate) fn take(&mut self, topic: &TopicName) -> Vec<u32> {
        let Some(mut local) = self.topics.remove(topic) else {
            return Vec::new();
        };
        let full = local.full.iter().map(|member| member.peer.slot());
        let paced = local.pace.iter().flat_map(|pace| &pace.members);
        let slots = full.chain(paced.map(|member| member.slot)).collect();
        free(&mut self.paced, &mut local);
        slots
    }

    /// A publication with this offset is about to be delivered. False if one before it never came.
    pub(crate) fn advance(&mut self, topic: &TopicName, offset: u64) -> bool {
        let Some(local) = self.topics.get_mut(topic) else {
            return true;
        };
        let next = local.position.map(|position| position.offset + 1);
        let epoch = local
            .position
            .map_or(Epoch::default(), |position| position.epoch);
        local.position = Some(Position { offset, epoch });
        next.is_none_or(|next| next == offset)
    }

    /// The home says where the channel stands. False if the members here should have heard of more.
    pub(crate) fn stands(&mut self, topic: &TopicName, position: Position) -> bool {
        let Some(local) = self.topics.get_mut(topic) else {
            return true;
        };
        match local.position.replace(position) {
            None => true,
            Some(before) => {
                before.offset == position.offset
                    && (before.epoch == position.epoch || before.epoch == Epoch::default())
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }
}

fn free(numbers: &mut [Option<TopicName>], local: &mut LocalTopic) {
    if let Some(pace) = local.pace.take() {
        numbers[pace.number] = None;
    }
}

fn last(len: usize) -> u32 {
    u32::try_from(len - 1).expect("a worker has fewer peers than 2^32")
}
