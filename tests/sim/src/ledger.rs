//! What all subscribers together saw of all channels, against what publishers were told: over lives of a server that
//! forgets its histories when it ends. It is fed by whoever runs the clients, and sees no wire itself.

use crate::account::Checked;
use std::collections::BTreeMap;

/// One history of one channel, by channel and epoch.
type History = (String, String);

/// Values by offset, and what is known of the server's lives.
#[derive(Default)]
pub struct Ledger {
    /// What stands at each offset, as seen by anyone.
    seen: BTreeMap<History, BTreeMap<u64, u64>>,
    /// Where each value was seen.
    places: BTreeMap<u64, (History, u64)>,
    /// In which life each epoch was first seen.
    lives: BTreeMap<History, usize>,
    /// Values that were asked to be published, with their channel and publisher.
    asked: BTreeMap<u64, (String, usize)>,
    /// Values that were acknowledged, in that order, by channel, life and publisher.
    acknowledged: BTreeMap<(String, usize, usize), Vec<u64>>,
}

impl Ledger {
    /// `publisher` asks to publish `value`, which nobody else ever does.
    pub fn asked(&mut self, publisher: usize, channel: &str, value: u64) {
        self.asked.insert(value, (channel.to_owned(), publisher));
    }

    /// The server, in this life of it, has said that `value` is published.
    ///
    /// # Errors
    /// When nobody has asked for that.
    pub fn acknowledged(&mut self, value: u64, life: usize) -> Checked {
        let (channel, publisher) = self
            .asked
            .get(&value)
            .ok_or_else(|| format!("{value} was acknowledged and never asked for"))?;
        let key = (channel.clone(), life, *publisher);
        self.acknowledged.entry(key).or_default().push(value);
        Ok(())
    }

    /// A subscriber was told this epoch by the server in this life of it.
    ///
    /// # Errors
    /// When it is that of an earlier life: who recovers from there would be lied to.
    pub fn epoch(&mut self, channel: &str, epoch: &str, life: usize) -> Checked {
        let key = (channel.to_owned(), epoch.to_owned());
        let first = *self.lives.entry(key).or_insert(life);
        match first == life {
            true => Ok(()),
            false => Err(format!(
                "epoch {epoch} of {channel} outlived a restart: life {first}, then {life}"
            )),
        }
    }

    /// A subscriber was given this value at this position.
    ///
    /// # Errors
    /// When another stood there, it stood elsewhere, or nobody has published it there.
    pub fn saw(&mut self, channel: &str, epoch: &str, offset: u64, value: u64) -> Checked {
        match self.asked.get(&value) {
            Some((asked, _)) if asked == channel => {}
            _ => return Err(format!("{value} in {channel} came from nowhere")),
        }
        let history = (channel.to_owned(), epoch.to_owned());
        let stood = self.seen.entry(history.clone()).or_default();
        let before = *stood.entry(offset).or_insert(value);
        if before != value {
            return Err(format!(
                "{channel} {epoch} {offset} is {value} to one and {before} to another"
            ));
        }
        let place = (history, offset);
        match self.places.insert(value, place.clone()) {
            Some(earlier) if earlier != place => Err(format!(
                "{value} was published twice: {earlier:?} {place:?}"
            )),
            _ => Ok(()),
        }
    }

    /// What was acknowledged was seen, but for what fits where nobody looked: before the first subscriber of a
    /// life, in gaps that all admitted, and, where the life is over, behind the last. `tops` says where the
    /// channels of the last life stand.
    ///
    /// # Errors
    /// When something is missing, or a publisher's order was not kept.
    pub fn settle(&self, last: usize, tops: &BTreeMap<String, u64>) -> Checked {
        for ((channel, life, publisher), values) in &self.acknowledged {
            let who = || format!("{channel}, publisher {publisher}, life {life}");
            let (mut offset, mut unseen, mut history) = (0, 0, None);
            for value in values {
                let Some((place, at)) = self.places.get(value) else {
                    unseen += 1;
                    continue;
                };
                if self.lives.get(place) != Some(life) || history.is_some_and(|h| h != place) {
                    return Err(format!("{}: {value} is in another life: {place:?}", who()));
                }
                if *at <= offset {
                    return Err(format!("{}: {value} at {at} is not behind {offset}", who()));
                }
                self.fits(place, offset, *at, unseen)
                    .map_err(|why| format!("{} before {value}: {why}", who()))?;
                (offset, unseen, history) = (*at, 0, Some(place));
            }
            if *life == last {
                let top = tops.get(channel).copied().unwrap_or(0);
                match history {
                    Some(place) => self.fits(place, offset, top + 1, unseen),
                    None if unseen <= top as usize => Ok(()),
                    None => Err(format!("{unseen} acknowledged, {top} numbered")),
                }
                .map_err(|why| format!("{} at the end: {why}", who()))?;
            }
        }
        Ok(())
    }

    /// Whether so many may be between these two offsets without anyone having seen them.
    fn fits(&self, history: &History, after: u64, before: u64, unseen: usize) -> Checked {
        let known = self.seen.get(history);
        let known = known.map_or(0, |seen| seen.range(after + 1..before).count());
        let room = (before - after - 1) as usize - known;
        match unseen <= room {
            true => Ok(()),
            false => Err(format!(
                "{unseen} acknowledged publications are lost between {after} and {before}, where {room} were not seen"
            )),
        }
    }

    /// How many were acknowledged, and how many of them somebody saw.
    pub fn counts(&self) -> (usize, usize) {
        let values = || self.acknowledged.values().flatten();
        let seen = values().filter(|value| self.places.contains_key(value));
        (values().count(), seen.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values 1 to `n` of publisher 0 in channel `a`, all acknowledged in life 0.
    fn published(n: u64) -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.epoch("a", "e", 0), Ok(()));
        for value in 1..=n {
            ledger.asked(0, "a", value);
            assert_eq!(ledger.acknowledged(value, 0), Ok(()));
        }
        ledger
    }

    fn tops(top: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("a".to_owned(), top)])
    }

    #[test]
    fn what_was_acknowledged_must_have_been_seen() {
        let mut ledger = published(5);
        for value in [1, 2, 4, 5] {
            assert_eq!(ledger.saw("a", "e", value, value), Ok(()));
        }
        assert_eq!(ledger.settle(0, &tops(5)), Ok(()), "a gap that was told");
        let mut ledger = published(5);
        for (offset, value) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
            assert_eq!(ledger.saw("a", "e", offset, value), Ok(()));
        }
        let lost = ledger.settle(0, &tops(4)).expect_err("3 is lost");
        assert!(lost.contains("1 acknowledged"), "{lost}");
    }

    #[test]
    fn the_end_of_a_life_may_be_unseen_but_not_that_of_the_last() {
        let mut ledger = published(5);
        for value in 1..=3 {
            assert_eq!(ledger.saw("a", "e", value, value), Ok(()));
        }
        assert_eq!(ledger.settle(1, &BTreeMap::new()), Ok(()));
        assert_eq!(ledger.settle(0, &tops(5)), Ok(()));
        assert!(ledger.settle(0, &tops(4)).is_err());
    }

    #[test]
    fn order_places_and_lives_are_checked() {
        let mut ledger = published(3);
        assert!(ledger.saw("b", "e", 1, 1).is_err(), "another channel");
        assert!(ledger.saw("a", "e", 1, 9).is_err(), "from nowhere");
        assert_eq!(ledger.saw("a", "e", 1, 2), Ok(()));
        assert!(ledger.saw("a", "e", 1, 3).is_err(), "two at one place");
        assert!(ledger.saw("a", "e", 4, 2).is_err(), "one at two places");
        assert!(
            ledger.epoch("a", "e", 1).is_err(),
            "an epoch after a restart"
        );
        let mut ledger = published(2);
        assert_eq!(ledger.saw("a", "e", 1, 2), Ok(()));
        assert_eq!(ledger.saw("a", "e", 2, 1), Ok(()));
        assert!(ledger.settle(0, &tops(2)).is_err(), "a publisher's order");
    }
}
