//! The same random octets through tungstenite, tokio-websockets and us. Every difference is in a table: who is
//! right, and by which section; one that is in no row fails.

mod known;
mod peers;
mod streams;

use known::KNOWN;
use peers::{End, Outcome};
use std::collections::BTreeMap;
use tidegate_cases::random::Numbers;
use tidegate_cases::{Stage, cases};
use tidegate_proto::Role;

/// Random streams for each role.
const STREAMS: u64 = 20_000;

/// How often each known difference was met.
type Met = BTreeMap<usize, usize>;

#[test]
fn random_streams_differ_only_as_the_table_says() {
    let mut met = Met::new();
    for role in [Role::Server, Role::Client] {
        for seed in 0..STREAMS {
            let mut numbers = Numbers(seed);
            let octets = streams::random(role, &mut numbers);
            compare(role, &octets, &format!("seed {seed}"), &mut met);
        }
    }
    for (at, known) in KNOWN.iter().enumerate() {
        let times = met.get(&at).copied().unwrap_or(0);
        println!(
            "{times:6} × {}: {} ({})",
            known.peer, known.what, known.right
        );
        assert!(
            times > 0,
            "{}: {} is not met any more: strike the row",
            known.peer,
            known.what
        );
    }
}

#[test]
fn the_rows_of_the_table_differ_only_as_the_table_says() {
    let plain = |case: &&tidegate_cases::Case| {
        case.stage == Stage::Open && case.is_only_octets() && case.settings.is_default()
    };
    let mut met = Met::new();
    for case in cases().iter().filter(plain) {
        let octets = case.octets();
        // Megabytes, and floods that only a limit of ours stops, say nothing about the protocol.
        if octets.len() < 5_000 {
            compare(
                case.role,
                &octets,
                &format!("{} {:?}", case.place, case.name),
                &mut met,
            );
        }
    }
}

fn compare(role: Role, octets: &[u8], which: &str, met: &mut Met) {
    let ours = peers::tidegate(role, octets);
    for (peer, theirs) in [
        ("tungstenite", peers::tungstenite(role, octets)),
        ("tokio-websockets", peers::tokio_websockets(role, octets)),
    ] {
        if same(&ours, &theirs) {
            continue;
        }
        let known = KNOWN
            .iter()
            .position(|k| k.peer == peer && (k.is)(&ours, &theirs));
        match known {
            Some(at) => *met.entry(at).or_default() += 1,
            None => panic!(
                "{which} ({role:?}): {peer} differs in a way that is in no row\n ours: {ours:?}\n theirs: {theirs:?}\n {}",
                octets
                    .iter()
                    .take(200)
                    .map(|o| format!("{o:02x}"))
                    .collect::<String>()
            ),
        }
    }
}

/// The same messages, and the same kind of end.
fn same(ours: &Outcome, theirs: &Outcome) -> bool {
    let ends = match (&ours.end, &theirs.end) {
        (End::Failed(_), End::Failed(_)) => true,
        (ours, theirs) => ours == theirs,
    };
    ends && ours.messages == theirs.messages
}
