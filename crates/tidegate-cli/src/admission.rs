//! Who may come in: a budget of handshakes and caps on connections, for all workers together. It sees only
//! openings and ends, never a message, and keeps no address once its last connection is gone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tidegate_proto::{Rejection, Time};

/// What is allowed. Each is off by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct AdmissionLimits {
    /// Most WebSockets at once.
    pub(crate) connections: Option<NonZero<u64>>,
    /// Most WebSockets at once from one address; an IPv6 address stands for its /64.
    pub(crate) per_ip: Option<NonZero<u32>>,
    /// Handshakes a second for ever, and at once.
    pub(crate) handshakes: Option<(NonZero<u32>, NonZero<u32>)>,
}

/// The counts behind [`AdmissionLimits`], shared by all workers.
///
/// The lock is taken once when a connection opens and once when it ends, in one of 64 parts.
pub(crate) struct Admission {
    open: AtomicU64,
    /// When the budget of handshakes will be whole again, in microseconds (GCRA's theoretical arrival time).
    whole_at: AtomicU64,
    by_ip: Vec<Mutex<HashMap<IpAddr, u32>>>,
    hasher: RandomState,
}

/// Why a handshake is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crowded {
    /// The server holds as many connections as it may.
    Full,
    /// This address has as many as it may.
    Address,
    /// Too many handshakes at once.
    Rush,
}

impl Crowded {
    /// The answer; `random` spreads those who come back.
    pub(crate) fn rejection(self, random: u64) -> Rejection {
        let (status, why, least, spread) = match self {
            Crowded::Full => (503, "the server is full; try again later", 5, 26),
            Crowded::Address => (429, "too many connections from this address", 5, 26),
            Crowded::Rush => (
                503,
                "too many clients connect at once; try again later",
                1,
                5,
            ),
        };
        let seconds = least + random % spread;
        Rejection::new(status, why)
            .with_header("Retry-After", seconds.to_string())
            .expect("digits are fit for a header")
    }

    /// Its name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Crowded::Full => "connections",
            Crowded::Address => "connections_per_ip",
            Crowded::Rush => "handshakes",
        }
    }
}

impl Admission {
    /// Nobody is here.
    pub(crate) fn new() -> Admission {
        Admission {
            open: AtomicU64::new(0),
            whole_at: AtomicU64::new(0),
            by_ip: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a handshake, or says why it is refused. Who is let in must [`Admission::leave`].
    pub(crate) fn enter(
        &self,
        limits: &AdmissionLimits,
        from: IpAddr,
        now: Time,
    ) -> Result<(), Crowded> {
        let most = limits.connections.map_or(u64::MAX, NonZero::get);
        if self.open.fetch_add(1, Ordering::Relaxed) >= most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Crowded::Full);
        }
        let entered = self.count_address(limits.per_ip, from).and_then(|()| {
            match self.spend(limits.handshakes, now) {
                true => Ok(()),
                false => {
                    self.forget_address(from);
                    Err(Crowded::Rush)
                }
            }
        });
        if entered.is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        entered
    }

    /// A connection from this address is gone.
    pub(crate) fn leave(&self, from: IpAddr) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.forget_address(from);
    }

    #[cfg(test)]
    fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Addresses are counted even without a cap, so that one set later holds for those who are here.
    fn count_address(&self, most: Option<NonZero<u32>>, from: IpAddr) -> Result<(), Crowded> {
        let key = network(from);
        let mut part = self.part(key);
        let count = part.entry(key).or_default();
        if most.is_some_and(|most| *count >= most.get()) {
            return Err(Crowded::Address);
        }
        *count += 1;
        Ok(())
    }

    fn forget_address(&self, from: IpAddr) {
        let key = network(from);
        let mut part = self.part(key);
        if let Some(count) = part.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                part.remove(&key);
            }
        }
    }

    fn part(&self, key: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        let n = self.hasher.hash_one(key) as usize % PARTS;
        self.by_ip[n].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one handshake out of the budget, if it is there.
    fn spend(&self, rate: Option<(NonZero<u32>, NonZero<u32>)>, now: Time) -> bool {
        let Some((per_second, burst)) = rate else {
            return true;
        };
        let each =
            Duration::from_secs(1).as_micros() as u64 / u64::from(per_second.get()).min(1_000_000);
        let room = each * u64::from(burst.get() - 1);
        let now = now.as_micros();
        let taken = |whole_at: u64| {
            let whole_at = whole_at.max(now);
            (whole_at - now <= room).then_some(whole_at + each)
        };
        self.whole_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }
}

/// What counts as one address: a household or a machine has a whole /64 of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 => v4,
    }
}

const PARTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u64, per_ip: u32, handshakes: Option<(u32, u32)>) -> AdmissionLimits {
        AdmissionLimits {
            connections: NonZero::new(connections),
            per_ip: NonZero::new(per_ip),
            handshakes: handshakes.map(|(rate, burst)| {
                (
                    NonZero::new(rate).expect("no 0"),
                    NonZero::new(burst).expect("no 0"),
                )
            }),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn without_limits_everyone_is_let_in_and_counted() {
        let admission = Admission::new();
        for _ in 0..1_000 {
            assert_eq!(
                admission.enter(&limits(0, 0, None), ip("192.0.2.1"), Time::ZERO),
                Ok(())
            );
        }
        assert_eq!(admission.open(), 1_000);
    }

    #[test]
    fn a_full_server_refuses_and_has_room_again_when_one_leaves() {
        let (admission, most) = (Admission::new(), limits(2, 0, None));
        let enter = |from: &str| admission.enter(&most, ip(from), Time::ZERO);
        assert_eq!((enter("192.0.2.1"), enter("192.0.2.2")), (Ok(()), Ok(())));
        assert_eq!(enter("192.0.2.3"), Err(Crowded::Full));
        assert_eq!(admission.open(), 2);
        admission.leave(ip("192.0.2.1"));
        assert_eq!(enter("192.0.2.3"), Ok(()));
    }

    #[test]
    fn an_address_has_its_cap_and_leaves_no_trace() {
        let (admission, most) = (Admission::new(), limits(0, 2, None));
        let enter = |from: &str| admission.enter(&most, ip(from), Time::ZERO);
        for same in [
            ["192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8:0:0:ffff::2"],
        ] {
            assert_eq!((enter(same[0]), enter(same[1])), (Ok(()), Ok(())));
            assert_eq!(enter(same[0]), Err(Crowded::Address));
        }
        assert_eq!(enter("2001:db8:0:1::1"), Ok(()));
        assert_eq!(enter("192.0.2.2"), Ok(()));
        for gone in [
            "192.0.2.1",
            "192.0.2.1",
            "2001:db8::9",
            "2001:db8::8",
            "2001:db8:0:1::1",
            "192.0.2.2",
        ] {
            admission.leave(ip(gone));
        }
        assert_eq!(admission.open(), 0);
        assert!(
            admission
                .by_ip
                .iter()
                .all(|part| part.lock().expect("no panic").is_empty())
        );
    }

    #[test]
    fn a_rush_is_let_in_at_the_rate() {
        let (admission, rate) = (Admission::new(), limits(0, 0, Some((10, 5))));
        let start = Time::from_micros(1_000_000_000);
        let let_in = |at: Time| {
            (0..100)
                .filter(|_| admission.enter(&rate, ip("192.0.2.1"), at).is_ok())
                .count()
        };
        assert_eq!(let_in(start), 5);
        assert_eq!(let_in(start), 0);
        assert_eq!(let_in(start + Duration::from_millis(99)), 0);
        assert_eq!(let_in(start + Duration::from_millis(100)), 1);
        assert_eq!(let_in(start + Duration::from_millis(400)), 3);
        assert_eq!(
            let_in(start + Duration::from_secs(60)),
            5,
            "no more than the burst"
        );
        assert_eq!(admission.open(), 14, "who is refused is not counted");
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back() {
        let rows = [
            (Crowded::Full, 503, 5..31),
            (Crowded::Address, 429, 5..31),
            (Crowded::Rush, 503, 1..6),
        ];
        for (crowded, status, seconds) in rows {
            for random in 0..100 {
                let rejection = crowded.rejection(random);
                assert_eq!(rejection.status, status);
                let (_, value) = rejection.headers().next().expect("a header");
                let value: u64 = value.parse().expect("seconds");
                assert!(seconds.contains(&value), "{crowded:?} {value}");
            }
        }
    }
}
