//! Who came to a channel and who went, as long as the members have not been told. It says when they are to
//! be; who is told is the shard's.
//!
//! A room that hundreds enter in one moment would cost each member hundreds of frames. So only a few changes
//! are told at once; while more come they are collected, and what is collected goes out in one frame. Who came
//! and went in between is not mentioned.

use crate::config::Rate;
use crate::publication::ClientInfo;
use crate::reply::Push;
use crate::session::Meter;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::Time;

/// The news of one channel.
#[derive(Default)]
pub(crate) struct News {
    /// With whether it came.
    waiting: Vec<(Arc<ClientInfo>, bool)>,
    bytes: usize,
    at_once: Meter,
}

/// What is to be done after something has happened.
#[derive(Debug)]
pub(crate) enum Tell {
    /// Tell this.
    Now(Vec<Push>),
    /// Take what is there at this time.
    At(Time),
    /// That is seen to already.
    Later,
}

impl News {
    /// Somebody came or went. News are collected for `batch`; if that is zero, some are told at once.
    /// `same` says whether two are the same one.
    pub(crate) fn add(
        &mut self,
        info: Arc<ClientInfo>,
        came: bool,
        same: impl Fn(&ClientInfo, &ClientInfo) -> bool,
        batch: Duration,
        now: Time,
    ) -> Tell {
        let first = self.waiting.is_empty();
        if first && batch.is_zero() && self.at_once.take(AT_ONCE, now) {
            return Tell::Now(vec![push(info, came)]);
        }
        let opposite =
            |(other, before): &(Arc<ClientInfo>, bool)| *before != came && same(other, &info);
        if let Some(at) = self.waiting.iter().rposition(opposite) {
            let (gone, _) = self.waiting.remove(at);
            self.bytes -= weight(&gone);
            return Tell::Later;
        }
        self.bytes += weight(&info);
        self.waiting.push((info, came));
        match first {
            _ if self.bytes >= FRAME => Tell::Now(self.take()),
            true if batch.is_zero() => Tell::At(now + COLLECT),
            true => Tell::At(now + batch),
            false => Tell::Later,
        }
    }

    /// All that waits.
    pub(crate) fn take(&mut self) -> Vec<Push> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        waiting.map(|(info, came)| push(info, came)).collect()
    }

    /// Drops all that waits; how much that was.
    pub(crate) fn forget(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }
}

fn push(info: Arc<ClientInfo>, came: bool) -> Push {
    match came {
        true => Push::Join(info),
        false => Push::Leave(info),
    }
}

/// What one costs in a frame, about.
fn weight(info: &ClientInfo) -> usize {
    info.json().len() + 64
}

/// So many are told without waiting for more.
const AT_ONCE: Rate = Rate {
    per_second: 20,
    burst: 20,
};

/// Beyond that they are collected for so long.
const COLLECT: Duration = Duration::from_millis(100);

/// A frame goes out early when it is this long, in bytes.
const FRAME: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: usize) -> Arc<ClientInfo> {
        Arc::new(ClientInfo::new(n as u128, "", None))
    }

    fn add(news: &mut News, n: usize, came: bool, batch: u64, now: u64) -> Tell {
        let same = |a: &ClientInfo, b: &ClientInfo| a.id() == b.id();
        let batch = Duration::from_millis(batch);
        news.add(who(n), came, same, batch, Time::from_micros(now * 1_000))
    }

    #[test]
    fn a_few_are_told_at_once_and_then_they_are_collected() {
        let mut news = News::default();
        for n in 0..20 {
            assert!(matches!(add(&mut news, n, true, 0, 5), Tell::Now(told) if told.len() == 1));
        }
        let due = Time::from_micros(105_000);
        assert!(matches!(add(&mut news, 20, true, 0, 5), Tell::At(at) if at == due));
        // Nothing overtakes what waits, although there is room again.
        assert!(matches!(add(&mut news, 0, false, 0, 104), Tell::Later));
        let told = news.take();
        assert!(
            matches!(told[..], [Push::Join(_), Push::Leave(_)]),
            "{told:?}"
        );
        assert!(matches!(add(&mut news, 1, false, 0, 106), Tell::Now(_)));
    }

    #[test]
    fn who_came_and_went_in_between_is_not_mentioned() {
        let mut news = News::default();
        assert!(matches!(add(&mut news, 1, true, 50, 0), Tell::At(_)));
        assert!(matches!(add(&mut news, 2, true, 50, 0), Tell::Later));
        assert!(matches!(add(&mut news, 1, false, 50, 0), Tell::Later));
        let told = news.take();
        assert!(matches!(&told[..], [Push::Join(info)] if info.id() == 2));
        assert_eq!((news.bytes, news.forget()), (0, 0));
    }

    #[test]
    fn a_frame_is_bounded_however_many_come() {
        let (mut news, mut frames) = (News::default(), Vec::new());
        for n in 0..10_000 {
            if let Tell::Now(told) = add(&mut news, n, true, 1_000, 0) {
                let bytes: usize = told.iter().map(|_| weight(&who(n))).sum();
                assert!((FRAME..FRAME + 1_000).contains(&bytes), "{bytes}");
                frames.push(told.len());
            }
        }
        assert!(frames.len() > 10, "{frames:?}");
        assert_eq!(frames.iter().sum::<usize>() + news.forget(), 10_000);
    }
}
