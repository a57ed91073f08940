//! Subscribers of one channel on one worker that get the newest values at their own pace: what waits for
//! them, and when it is due. It sends nothing itself.
//!
//! The channel keeps one publication for each key; a subscriber keeps only how far it has been served.
//! Those with the same rate share a tick, and those that stand at the same place share the frame. So the
//! cost is that of the changed keys, once for each form, and not of the subscribers.
//!
//! What is skipped is counted without a list: between two frames a subscriber is owed as many publications
//! as the channel had; those that the frame does not hold are the skipped ones.

use crate::codec::{Form, json, protobuf};
use crate::publication::Publication;
use crate::session::Wish;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tidegate_proto::{Encoded, Time};

/// The paced members of a channel.
pub(crate) struct Pace {
    /// What the timers of this channel carry.
    pub(crate) number: usize,
    pub(crate) members: Vec<PacedMember>,
    /// Publications since the first paced member came.
    served: u64,
    /// The newest publication of each key, by its number.
    values: BTreeMap<u64, (Box<str>, Publication)>,
    keys: HashMap<Box<str>, u64>,
    ticks: Vec<Tick>,
}

/// A member that gets the newest values.
#[derive(Clone, Copy)]
pub(crate) struct PacedMember {
    pub(crate) slot: u32,
    pub(crate) hz: u16,
    pub(crate) join_leave: bool,
    /// It has got, or been told that it skipped, everything up to this number.
    pub(crate) served: u64,
}

struct Tick {
    hz: u16,
    /// Not before then.
    due: Time,
    /// A timer will go off then.
    armed: bool,
}

/// When something is to be done for the members of one rate.
pub(crate) enum When {
    Now,
    At(Time),
    /// It is seen to already.
    Later,
}

/// A frame for a member, with what it says.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) frame: Encoded,
    pub(crate) publications: u64,
    pub(crate) skipped: u64,
    /// How far a member is once it has got this.
    pub(crate) served: u64,
}

impl Pace {
    pub(crate) fn new(number: usize) -> Pace {
        Pace {
            number,
            members: Vec::new(),
            served: 0,
            values: BTreeMap::new(),
            keys: HashMap::new(),
            ticks: Vec::new(),
        }
    }

    /// Adds a member; the answer is how many there are now.
    pub(crate) fn join(&mut self, slot: u32, wish: Wish) -> usize {
        self.members.push(PacedMember {
            slot,
            hz: wish.hz,
            join_leave: wish.join_leave,
            served: self.served,
        });
        if !self.ticks.iter().any(|tick| tick.hz == wish.hz) {
            self.ticks.push(Tick {
                hz: wish.hz,
                due: Time::ZERO,
                armed: false,
            });
        }
        self.members.len()
    }

    /// Removes a member; the answer is the slot of the one that took its place.
    pub(crate) fn leave(&mut self, index: usize) -> Option<u32> {
        let gone = self.members.swap_remove(index);
        if !self.members.iter().any(|member| member.hz == gone.hz) {
            self.ticks.retain(|tick| tick.hz != gone.hz);
        }
        self.members.get(index).map(|member| member.slot)
    }

    /// A publication came; at most `most` keys wait.
    pub(crate) fn publish(&mut self, key: Box<str>, publication: &Publication, most: usize) {
        self.served += 1;
        if let Some(before) = self.keys.insert(key.clone(), self.served) {
            self.values.remove(&before);
        }
        self.values.insert(self.served, (key, publication.clone()));
        while self.values.len() > most.max(1) {
            if let Some((_, (key, _))) = self.values.pop_first() {
                self.keys.remove(&key);
            }
        }
    }

    /// The rates that members have.
    pub(crate) fn rates(&self) -> Vec<u16> {
        self.ticks.iter().map(|tick| tick.hz).collect()
    }

    /// When the members of this rate may be served; a timer is assumed to be set for [`When::At`].
    pub(crate) fn when(&mut self, hz: u16, now: Time) -> When {
        let Some(tick) = self.ticks.iter_mut().find(|tick| tick.hz == hz) else {
            return When::Later;
        };
        if tick.armed {
            When::Later
        } else if tick.due <= now {
            When::Now
        } else {
            tick.armed = true;
            When::At(tick.due)
        }
    }

    /// A timer of this rate went off. False if it was none of ours.
    pub(crate) fn rings(&mut self, hz: u16, now: Time) -> bool {
        let tick = self.ticks.iter_mut().find(|tick| tick.hz == hz);
        let Some(tick) = tick.filter(|tick| tick.armed && tick.due <= now) else {
            return false;
        };
        tick.armed = false;
        true
    }

    /// The members of this rate have been served; not again before the next tick.
    pub(crate) fn ticked(&mut self, hz: u16, now: Time) {
        if let Some(tick) = self.ticks.iter_mut().find(|tick| tick.hz == hz) {
            tick.due = now + Duration::from_secs(1) / u32::from(hz.max(1));
        }
        let slowest = self.members.iter().map(|member| member.served).min();
        let needed = self.values.split_off(&(slowest.unwrap_or(self.served) + 1));
        for (_, (key, _)) in std::mem::replace(&mut self.values, needed) {
            self.keys.remove(&key);
        }
    }

    /// Whether a member is owed something.
    pub(crate) fn owes(&self, member: &PacedMember) -> bool {
        member.served < self.served
    }

    /// What a member that was served up to `from` gets, in one frame, oldest first; of many or large values
    /// as many as [`FRAME`] holds, and the rest with the next tick. The first publication says how many
    /// were skipped since the frame before.
    pub(crate) fn batch(&self, from: u64, form: Form) -> Option<Batch> {
        if from >= self.served {
            return None;
        }
        let (mut publications, mut bytes, mut served) = (0, 0, self.served);
        for (number, (_, publication)) in self.values.range(from + 1..) {
            publications += 1;
            bytes += publication.octets().len();
            if bytes >= FRAME {
                served = *number;
                break;
            }
        }
        let skipped = (served - from).saturating_sub(publications);
        let mut octets = Vec::new();
        let mut text = String::new();
        for (n, (_, (_, publication))) in self.values.range(from + 1..=served).enumerate() {
            let tag = if n == 0 {
                skipped.to_string()
            } else {
                "0".to_owned()
            };
            let extra = Some(("skipped", tag.as_str()));
            match form {
                Form::Json => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    json::write_publication(&mut text, &publication.sent_json(0, extra));
                }
                Form::Protobuf => {
                    let mut sent = publication.sent(extra);
                    sent.offset = 0;
                    protobuf::write_publication(&mut octets, &sent);
                }
            }
        }
        (publications > 0).then(|| Batch {
            frame: match form {
                Form::Json => Encoded::text(&text),
                Form::Protobuf => Encoded::binary(&octets),
            },
            publications,
            skipped,
            served,
        })
    }
}

/// A frame with values ends when its data are this long.
const FRAME: usize = 64 << 10;

/// Which value a publication is: see [`crate::Delivery`].
pub(crate) fn key(publication: &Publication, pointer: Option<&str>) -> Box<str> {
    if let Some(key) = publication.tags().get("key") {
        return key.as_str().into();
    }
    let pointed = pointer
        .filter(|_| publication.is_json())
        .and_then(|pointer| {
            let data: serde_json::Value = serde_json::from_str(publication.data()).ok()?;
            match data.pointer(pointer)? {
                serde_json::Value::String(text) => Some(text.as_str().into()),
                other => Some(other.to_string().into()),
            }
        });
    pointed
        .or_else(|| publication.info().map(|info| info.client().into()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
