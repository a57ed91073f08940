//! Happy Eyeballs version 2 (RFC 8305): several addresses of one name are tried side by side, and the first
//! that answers wins. It opens no socket itself and looks no name up.

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Time that an attempt gets before the next is begun beside it (RFC 8305 §5, "Connection Attempt Delay").
pub(super) const DELAY: Duration = Duration::from_millis(250);
/// Most addresses tried: a name with thousands must not cost thousands of sockets.
const MAX_ADDRESSES: usize = 16;
/// Failures told in the error.
const MAX_TOLD: usize = 4;

/// Connects to one of `addresses`: the first at once, a further one each [`DELAY`] or as soon as an attempt has
/// failed. The losers are dropped.
///
/// # Errors
/// When all have failed: the kind of the first failure, and what was said of the first few addresses.
///
/// # Cancel safety
/// Dropped, all attempts are.
pub(super) async fn race<F, T>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = interleave(addresses);
    waiting.truncate(MAX_ADDRESSES);
    waiting.reverse();
    let mut race = Race {
        waiting,
        connect,
        running: Vec::new(),
        failed: Vec::new(),
        next: Box::pin(sleep_until(Instant::now())),
    };
    poll_fn(|cx| race.poll(cx)).await
}

struct Race<C, F> {
    /// The next one is the last.
    waiting: Vec<SocketAddr>,
    connect: C,
    running: Vec<(SocketAddr, Pin<Box<F>>)>,
    failed: Vec<(SocketAddr, io::Error)>,
    /// When the next attempt begins, should the running ones still run.
    next: Pin<Box<Sleep>>,
}

impl<C, F, T> Race<C, F>
where
    C: Fn(SocketAddr) -> F,
    F: Future<Output = io::Result<T>>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        loop {
            if let Some(won) = self.poll_running(cx) {
                return Poll::Ready(Ok(won));
            }
            if self.waiting.is_empty() {
                return match self.running.is_empty() {
                    true => Poll::Ready(Err(verdict(&self.failed))),
                    false => Poll::Pending,
                };
            }
            //= rfc8305#5  a failed attempt starts the next one at once.
            let is_time = self.running.is_empty() || self.next.as_mut().poll(cx).is_ready();
            if !is_time {
                return Poll::Pending;
            }
            if let Some(address) = self.waiting.pop() {
                let attempt = Box::pin((self.connect)(address));
                self.running.push((address, attempt));
                self.next.as_mut().reset(Instant::now() + DELAY);
            }
        }
    }

    /// Polls every attempt; those that fail make room for the next, whose time has come then.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let mut at = 0;
        while let Some((address, attempt)) = self.running.get_mut(at) {
            match attempt.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(won)) => return Some(won),
                Poll::Ready(Err(error)) => {
                    self.failed.push((*address, error));
                    drop(self.running.remove(at));
                    self.next.as_mut().reset(Instant::now());
                }
            }
        }
        None
    }
}

/// Alternates the families, the resolver's first choice first, each family in the resolver's order (§4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return addresses;
    };
    let first_is_v6 = first.is_ipv6();
    let total = addresses.len();
    let (leading, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut leading, mut other) = (leading.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(total);
    while order.len() < total {
        order.extend(leading.next());
        order.extend(other.next());
    }
    order
}

/// One error out of all: its kind is the first one's, and it names the addresses.
fn verdict(failed: &[(SocketAddr, io::Error)]) -> io::Error {
    let Some((_, first)) = failed.first() else {
        return io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    };
    let mut text = String::new();
    for (address, error) in failed.iter().take(MAX_TOLD) {
        let and = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{and}{address}: {error}"); // a String takes everything
    }
    if failed.len() > MAX_TOLD {
        let _ = write!(text, "; and {} more", failed.len() - MAX_TOLD);
    }
    io::Error::new(first.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::time::sleep;

    fn v4(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 80))
    }

    fn v6(n: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 80))
    }

    /// What happened, in milliseconds since the start.
    type Log = Rc<RefCell<Vec<(u128, String)>>>;

    /// Says when an attempt is dropped before its end.
    struct Attempt {
        log: Log,
        start: Instant,
        address: SocketAddr,
        done: bool,
    }

    impl Drop for Attempt {
        fn drop(&mut self) {
            if !self.done {
                let at = self.start.elapsed().as_millis();
                self.log
                    .borrow_mut()
                    .push((at, format!("drop {}", self.address.ip())));
            }
        }
    }

    /// Races through a scripted network: address, milliseconds, whether it answers.
    async fn run(
        script: &[(SocketAddr, u64, bool)],
    ) -> (io::Result<SocketAddr>, Vec<(u128, String)>) {
        let log = Log::default();
        let start = Instant::now();
        let addresses = script.iter().map(|row| row.0).collect();
        let result = race(addresses, |address| {
            let row = script.iter().find(|row| row.0 == address).copied();
            let (_, after, answers) = row.expect("only what was given is tried");
            log.borrow_mut()
                .push((start.elapsed().as_millis(), format!("try {}", address.ip())));
            let attempt = Attempt {
                log: log.clone(),
                start,
                address,
                done: false,
            };
            async move {
                let mut attempt = attempt; // the whole of it, not the flag alone
                sleep(Duration::from_millis(after)).await;
                attempt.done = true;
                match answers {
                    true => Ok(address),
                    false => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            }
        })
        .await;
        let log = log.borrow().clone();
        (result, log)
    }

    #[test]
    fn families_alternate_and_keep_their_order() {
        let given = vec![v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(interleave(given), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        let given = vec![v4(1), v6(1)];
        assert_eq!(interleave(given), [v4(1), v6(1)]);
        assert_eq!(interleave(Vec::new()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_ipv6_costs_a_quarter_of_a_second() {
        let (won, log) = run(&[(v6(1), 60_000, true), (v4(1), 10, true)]).await;
        assert_eq!(won.unwrap(), v4(1));
        let expected = [
            (0, "try 2001:db8::1".to_owned()),
            (250, "try 192.0.2.1".to_owned()),
            (260, "drop 2001:db8::1".to_owned()),
        ];
        assert_eq!(log, expected, "the loser is dropped with the victory");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_starts_the_next_attempt_at_once() {
        let (won, log) = run(&[(v6(1), 5, false), (v4(1), 10, true)]).await;
        assert_eq!(won.unwrap(), v4(1));
        assert_eq!(log[1], (5, "try 192.0.2.1".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_first_answer_needs_no_second_attempt() {
        let (won, log) = run(&[(v6(1), 249, true), (v4(1), 10, true)]).await;
        assert_eq!((won.unwrap(), log.len()), (v6(1), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_winner_beats_those_begun_after_it() {
        let (won, log) = run(&[
            (v6(1), 600, true),
            (v4(1), 1_000, true),
            (v6(2), 1_000, true),
        ])
        .await;
        assert_eq!(won.unwrap(), v6(1));
        let starts: Vec<u128> = log
            .iter()
            .filter(|(_, what)| what.starts_with("try"))
            .map(|row| row.0)
            .collect();
        assert_eq!(starts, [0, 250, 500]);
        assert_eq!(
            log.iter()
                .filter(|(_, what)| what.starts_with("drop"))
                .count(),
            2
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_each_is_named() {
        let (won, _) = run(&[(v6(1), 5, false), (v4(1), 10, false)]).await;
        let error = won.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let said = error.to_string();
        assert!(
            said.contains("192.0.2.1:80: ") && said.contains("[2001:db8::1]:80: "),
            "{said}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_sixteen_addresses_are_tried() {
        let rows: Vec<_> = (0..100).map(|n| (v4(n), 1, false)).collect();
        let (won, log) = run(&rows).await;
        assert!(won.unwrap_err().to_string().ends_with("and 12 more"));
        assert_eq!(log.len(), 16);
    }
}
