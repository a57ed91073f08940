//! The publications that one channel keeps, by count, bytes and age; it never forgets that it forgot.

use crate::publication::{Epoch, Position, Publication};
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tidegate_proto::Time;

/// Which part of a history is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// After this offset; before it if `reverse`.
    pub since: Option<u64>,
    /// At most so many; `None` for all there are.
    pub limit: Option<usize>,
    /// Newest first.
    pub reverse: bool,
}

/// A part of a history.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Where the channel stands.
    pub position: Position,
    /// In the order that was asked for.
    pub publications: Vec<Publication>,
}

/// The answer to a subscriber that comes back.
#[derive(Clone, Debug)]
pub enum Recovery {
    /// Everything it missed, in order.
    Complete(Vec<Publication>),
    /// Something it missed is gone, or its position is from another life of the channel.
    Lost,
}

/// The kept publications of a channel, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    epoch: Epoch,
    top: u64,
    /// The newest offset that is kept no more.
    trimmed: u64,
    kept: VecDeque<Publication>,
    bytes: usize,
}

impl History {
    pub(crate) fn new(epoch: Epoch) -> History {
        History {
            epoch,
            top: 0,
            trimmed: 0,
            kept: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            offset: self.top,
            epoch: self.epoch,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn oldest(&self) -> Option<&Publication> {
        self.kept.front()
    }

    /// Adds a publication, which has the offset `position().offset + 1`.
    pub(crate) fn push(&mut self, publication: Publication) {
        debug_assert!(publication.offset() > self.top);
        self.top = publication.offset();
        self.bytes += publication.cost();
        self.kept.push_back(publication);
    }

    /// Keeps at most so many publications and bytes, and none older than `ttl`.
    pub(crate) fn trim(&mut self, count: usize, bytes: usize, ttl: Duration, now: Time) {
        while let Some(oldest) = self.kept.front() {
            let expired = now.since(oldest.at()) >= ttl;
            if self.kept.len() <= count && self.bytes <= bytes && !expired {
                return;
            }
            self.drop_oldest();
        }
    }

    pub(crate) fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.trimmed = oldest.offset();
            self.bytes -= oldest.cost();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new(); // give the memory back
        }
    }

    /// Forgets all publications, but not that there were some.
    pub(crate) fn clear(&mut self) {
        while !self.kept.is_empty() {
            self.drop_oldest();
        }
    }

    pub(crate) fn newest(&self) -> Option<&Publication> {
        self.kept.back()
    }

    /// The places of the newest publication of each key, of at most `most` keys, oldest first.
    pub(crate) fn newest_by(
        &self,
        key: impl Fn(&Publication) -> Box<str>,
        most: usize,
    ) -> Vec<usize> {
        let mut seen = HashSet::new();
        let newest_first = self.kept.iter().enumerate().rev();
        let mut places: Vec<usize> = newest_first
            .filter(|(_, publication)| seen.insert(key(publication)))
            .map(|(place, _)| place)
            .take(most)
            .collect();
        places.reverse();
        places
    }

    /// The publication at a place, the oldest at 0.
    pub(crate) fn at(&self, place: usize) -> Option<&Publication> {
        self.kept.get(place)
    }

    /// What a subscriber that stood at `offset` in `epoch` has missed. Complete only if nothing after
    /// that offset was dropped; an offset that was never given out is none of ours.
    pub(crate) fn recover(&self, offset: u64, epoch: Option<Epoch>) -> Recovery {
        let known = epoch == Some(self.epoch) && (self.trimmed..=self.top).contains(&offset);
        if known {
            Recovery::Complete(self.kept.range(self.after(offset)..).cloned().collect())
        } else {
            Recovery::Lost
        }
    }

    pub(crate) fn page(&self, page: &Page) -> Slice {
        let limit = page.limit.unwrap_or(usize::MAX);
        let publications = if page.reverse {
            let end = page
                .since
                .map_or(self.kept.len(), |since| self.after(since.saturating_sub(1)));
            self.kept.range(..end).rev().take(limit).cloned().collect()
        } else {
            let start = page.since.map_or(0, |since| self.after(since));
            self.kept.range(start..).take(limit).cloned().collect()
        };
        Slice {
            position: self.position(),
            publications,
        }
    }

    /// The index of the first publication after `offset`.
    fn after(&self, offset: u64) -> usize {
        self.kept.partition_point(|p| p.offset() <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::{Draft, Payload, RawJson, Tags};
    use crate::topic::TopicName;

    const EPOCH: Epoch = Epoch(5);
    const TTL: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// Publications 1..=n, one a second from second 1 on.
    fn filled(n: u64) -> History {
        let mut history = History::new(EPOCH);
        let topic = TopicName::parse("c").unwrap();
        let draft = Draft {
            data: &Payload::Json(RawJson::parse("1").unwrap()),
            info: None,
            tags: &Tags::new(),
        };
        for offset in 1..=n {
            history.push(Publication::new(
                &topic,
                Some(offset),
                at(offset),
                &draft,
                true,
            ));
        }
        history
    }

    fn offsets(publications: &[Publication]) -> Vec<u64> {
        publications.iter().map(Publication::offset).collect()
    }

    fn recovered(history: &History, offset: u64, epoch: Option<Epoch>) -> Option<Vec<u64>> {
        match history.recover(offset, epoch) {
            Recovery::Complete(missed) => Some(offsets(&missed)),
            Recovery::Lost => None,
        }
    }

    #[test]
    fn recovery_is_complete_or_admitted_to_be_lost() {
        let mut history = filled(5);
        history.trim(3, usize::MAX, TTL, at(5)); // 3, 4, 5 are left
        let rows = [
            (0, Some(EPOCH), None),
            (1, Some(EPOCH), None),
            (2, Some(EPOCH), Some(vec![3, 4, 5])),
            (4, Some(EPOCH), Some(vec![5])),
            (5, Some(EPOCH), Some(vec![])),
            (6, Some(EPOCH), None),
            (u64::MAX, Some(EPOCH), None),
            (5, Some(Epoch(6)), None),
            (5, None, None),
        ];
        for (offset, epoch, expected) in rows {
            assert_eq!(
                recovered(&history, offset, epoch),
                expected,
                "{offset} {epoch:?}"
            );
        }
    }

    #[test]
    fn a_position_outlives_its_publications() {
        let mut history = filled(2);
        history.trim(9, usize::MAX, TTL, at(62));
        assert_eq!((history.len(), history.bytes()), (0, 0));
        assert_eq!(recovered(&history, 2, Some(EPOCH)), Some(vec![]));
        assert_eq!(recovered(&history, 1, Some(EPOCH)), None);
    }

    #[test]
    fn count_bytes_and_age_are_bounded() {
        let one = filled(1).bytes();
        let mut history = filled(9);
        history.trim(usize::MAX, 4 * one, TTL, at(9));
        assert_eq!((history.len(), history.bytes()), (4, 4 * one));
        history.trim(usize::MAX, usize::MAX, TTL, at(67)); // 6 and 7 are a minute old
        assert_eq!(
            offsets(&history.page(&Page::default()).publications),
            [8, 9]
        );
        history.trim(1, usize::MAX, TTL, at(67));
        assert_eq!(history.oldest().map(Publication::offset), Some(9));
    }

    #[test]
    fn pages_go_both_ways() {
        let history = filled(5);
        let rows = [
            (None, None, false, vec![1, 2, 3, 4, 5]),
            (None, Some(2), false, vec![1, 2]),
            (None, Some(2), true, vec![5, 4]),
            (Some(2), None, false, vec![3, 4, 5]),
            (Some(2), Some(1), false, vec![3]),
            (Some(4), None, true, vec![3, 2, 1]),
            (Some(4), Some(1), true, vec![3]),
            (Some(0), None, true, vec![]),
            (Some(5), None, false, vec![]),
            (Some(u64::MAX), None, false, vec![]),
            (Some(u64::MAX), Some(1), true, vec![5]),
            (None, Some(0), false, vec![]),
        ];
        for (since, limit, reverse, expected) in rows {
            let page = Page {
                since,
                limit,
                reverse,
            };
            assert_eq!(
                offsets(&history.page(&page).publications),
                expected,
                "{page:?}"
            );
        }
    }
}
