//! Runs rows in every way of feeding them and compares; it owns no socket.

mod connection;
mod dial;
mod endpoint;

use crate::bytes::Step;
use crate::expect::{self, Expect};
use crate::random::Cuts;
use crate::table::{Case, Stage};
use crate::wire::{Frame, KEY, TEXT};
use std::time::Duration;
use tidegate_proto::{Closed, Role, Time};

pub use connection::Peer;
pub(crate) use endpoint::{check_refusal, read_answer, status_of};

/// What was seen of one run.
#[derive(Default, Debug)]
pub struct Seen {
    /// Messages delivered: whether text, and the payload.
    pub messages: Vec<(bool, Vec<u8>)>,
    /// Frames sent.
    pub frames: Vec<Frame>,
    /// How many of them were compressed.
    pub compressed: usize,
    /// Ends told; never more than one.
    pub closed: Vec<Closed>,
    /// After how many octets the end was told.
    pub ended_at: Option<usize>,
    /// What became of the handshake.
    pub handshake: Vec<Expect>,
    /// The HTTP answer we sent, line by line.
    pub answer: Vec<String>,
}

/// What follows a row in the same stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Nothing.
    None,
    /// One more message, where the row leaves the connection open; else octets that must be of no effect.
    More,
}

/// The message that follows a row.
const TAIL: &str = "tail";

/// Runs `case` in every way and says how often it ran.
///
/// # Errors
/// Place, name and way of feeding of the first run that went wrong, and what was wrong.
pub fn all_ways(case: &Case) -> Result<usize, String> {
    let len = case.octets().len();
    let mut ways = vec![Cuts::Whole, Cuts::Each];
    ways.extend(
        [2, 3, 7, 1_000]
            .into_iter()
            .filter(|step| *step < len)
            .map(Cuts::Every),
    );
    ways.extend(
        (0..8)
            .filter(|_| len > 2)
            .map(|n| Cuts::Random(seed(case) + n)),
    );
    let mut runs = 0;
    for cuts in ways {
        for tail in [Tail::None, Tail::More] {
            runs += once(case, cuts, tail).map_err(|why| {
                format!(
                    "{} {:?} ({:?}, {cuts:?}, {tail:?}): {why}",
                    case.place, case.name, case.role
                )
            })?;
        }
    }
    Ok(runs)
}

/// Runs `case` through everything that can run it.
fn once(case: &Case, cuts: Cuts, tail: Tail) -> Result<usize, String> {
    let (steps, expected) = with_tail(case, tail);
    let mut runs = 1;
    match (case.stage, case.role) {
        (Stage::Open, role) => {
            let seen = octet_exact(cuts, connection::run(role, &case.settings, &steps, cuts)?);
            expect::check(&expected, &seen, false)?;
            if role == Role::Server {
                let seen = octet_exact(cuts, endpoint::run_open(&case.settings, &steps, cuts)?);
                expect::check(&expected, &seen, true)
                    .map_err(|why| format!("as a worker: {why}"))?;
                runs += 1;
            }
        }
        (Stage::Handshake, Role::Server) => {
            let seen = octet_exact(cuts, endpoint::run(&case.settings, &steps, cuts)?);
            check_handshake(&expected, &seen)?;
            expect::check(&expected, &seen, true)?;
        }
        (Stage::Handshake, Role::Client) => {
            let seen = octet_exact(cuts, dial::run(&case.settings, &steps, cuts)?);
            check_handshake(&expected, &seen)?;
            expect::check(&expected, &seen, false)?;
        }
    }
    Ok(runs)
}

/// At which octet it ended can be told only where octets came one by one.
fn octet_exact(cuts: Cuts, mut seen: Seen) -> Seen {
    if !matches!(cuts, Cuts::Each) {
        seen.ended_at = None;
    }
    seen
}

/// The row's steps and expectations with what the tail adds.
fn with_tail(case: &Case, tail: Tail) -> (Vec<Step>, Vec<Expect>) {
    let (mut steps, mut expected) = (case.steps.clone(), case.expected.clone());
    if tail == Tail::None {
        return (steps, expected);
    }
    let key = (case.role == Role::Server).then_some(KEY);
    let message = Frame::new(TEXT, TAIL).write(key);
    if case.takes_a_tail() {
        push_bytes(&mut steps, message);
        let payload = TAIL.into();
        expected.push(Expect::Message {
            text: true,
            payload,
        });
    } else if case.ending().is_some() && !case.steps.contains(&Step::Eof) {
        push_bytes(&mut steps, message);
        push_bytes(&mut steps, vec![0xFF; 40]);
        push_bytes(&mut steps, Frame::new(crate::wire::PING, "late").write(key));
    }
    (steps, expected)
}

fn push_bytes(steps: &mut Vec<Step>, bytes: Vec<u8>) {
    match steps.last_mut() {
        Some(Step::Bytes(before)) => before.extend(bytes),
        _ => steps.push(Step::Bytes(bytes)),
    }
}

pub(crate) fn check_handshake(expected: &[Expect], seen: &Seen) -> Result<(), String> {
    let of_handshake = |expect: &&Expect| {
        matches!(
            expect,
            Expect::Answer(..)
                | Expect::Plain
                | Expect::Incomplete
                | Expect::Accepted(_)
                | Expect::Refused(_)
                | Expect::Error(_)
        )
    };
    let wanted: Vec<_> = expected.iter().filter(of_handshake).cloned().collect();
    expect::same("the handshake", &wanted, &seen.handshake)?;
    for expect in expected {
        let fits = match expect {
            Expect::Has(line) => seen.answer.contains(line),
            Expect::Lacks(start) => !seen.answer.iter().any(|line| line.starts_with(start)),
            _ => true,
        };
        if !fits {
            return Err(format!("{expect:?} does not fit {:?}", seen.answer));
        }
    }
    Ok(())
}

/// A seed of the row's own, the same on every run.
fn seed(case: &Case) -> u64 {
    case.name.bytes().fold(0xCBF2_9CE4, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// When runs begin.
fn start() -> Time {
    Time::ZERO + Duration::from_secs(1_000_000)
}
