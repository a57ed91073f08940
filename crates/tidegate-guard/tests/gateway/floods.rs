//! R3 to R8 and M12 as floods: what one peer does must not be felt by the others. Fifty clients talk; their delay is what
//! the worker's one thread makes of it, in the clock's time, with a flood and without.

use crate::world::{TURN, World, frame};
use std::time::Duration;

/// Who talks, how often, how long.
const TALKERS: usize = 50;
const EVERY: Duration = Duration::from_millis(10);
const SPAN: Duration = Duration::from_secs(10);
/// The neighbours' delay may grow by so much.
const MOST: f64 = 1.10;

/// What a flood is made of, and what stops it: the client's Close, or nothing needs to.
struct Flood {
    row: &'static str,
    octets: Vec<u8>,
    closes_with: Option<u16>,
}

fn floods() -> Vec<Flood> {
    let start = frame(0x01, b"");
    let flood = |row, octets, closes_with| Flood {
        row,
        octets,
        closes_with,
    };
    vec![
        flood("R3 pings", frame(0x89, b"flood"), Some(1008)),
        flood("R3 pongs", frame(0x8A, b"flood"), Some(1008)),
        flood(
            "R4 empty pieces",
            [start, frame(0, b"").repeat(5_000)].concat(),
            Some(1008),
        ),
        flood(
            "R5 tiny pieces",
            [frame(0x01, b"x"), frame(0, b"x").repeat(5_000)].concat(),
            Some(1008),
        ),
        flood(
            "F5 too long",
            [&[0x82, 0xFF][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat(),
            Some(1009),
        ),
        flood("M12 small messages", frame(0x81, b"[1]"), Some(1008)),
        flood("M12 large messages", frame(0x82, &[7; 60_000]), Some(1008)),
    ]
}

/// Mean and 99th percentile of the neighbours' delay in microseconds, and of the flooder octets taken and its close code.
fn delays(policy: &str, flood: Option<&[u8]>) -> ([f64; 2], usize, Option<u16>) {
    let mut world = World::new(policy);
    world.seen.lock().expect("no panic").keeps = false;
    let talkers: Vec<usize> = (0..TALKERS).map(|_| world.open()).collect();
    let flooder = world.open();
    world.talk(&talkers, EVERY, SPAN / 10);
    let before = world.clients[flooder].taken;
    if let Some(flood) = flood {
        world.clients[flooder].flood = flood.to_vec();
    }
    world.talk(&talkers, EVERY, SPAN);
    let mut all: Vec<u64> = talkers
        .iter()
        .flat_map(|id| world.clients[*id].delays.clone())
        .collect();
    let said = SPAN.as_micros() * TALKERS as u128 / EVERY.as_micros();
    assert!(all.len() as u128 > said, "all were answered: {}", all.len());
    all.sort_unstable();
    let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
    let late = all[all.len() * 99 / 100] as f64;
    let taken = world.clients[flooder].taken - before;
    (
        [mean, late],
        taken,
        world.close(flooder).map(|(code, _)| code),
    )
}

#[test]
fn floods_do_not_delay_the_neighbours() {
    let (calm, ..) = delays("", None);
    for flood in floods() {
        let (delay, taken, code) = delays("", Some(&flood.octets));
        let grown = [0, 1].map(|at| delay[at] / calm[at]);
        println!(
            "{:<26} mean {:>5.1} us x {:.3}, p99 {:>5.1} us x {:.3}, {taken} octets read, then {code:?}",
            flood.row, delay[0], grown[0], delay[1], grown[1]
        );
        assert_eq!(code, flood.closes_with, "{}", flood.row);
        let fits = grown.iter().all(|grown| *grown <= MOST);
        assert!(fits, "{}: {grown:?}", flood.row);
    }
}

#[test]
fn without_budgets_the_same_flood_is_felt() {
    // What shows that the measure above measures: the flood goes on, and nobody gets more than his turn, but all wait.
    let policy = "[rates]\nmessages = { per_second = 100000000, burst = 100000000 }\n\
                  bytes = { per_second = \"3GiB\", burst = \"3GiB\" }\n";
    let (calm, ..) = delays(policy, None);
    let (delay, taken, code) = delays(policy, Some(&frame(0x82, &vec![7; 60_000])));
    assert_eq!(code, None);
    assert!(taken > 100 * TURN, "{taken}");
    assert!(delay[0] > 2.0 * calm[0], "{delay:?} beside {calm:?}");
    // And yet a neighbour waits for turns, not for the flood: of two ends, and of the copy that goes on.
    let turn = TURN as f64 * 2.0 / 1_000.0;
    assert!(
        delay[1] < calm[1] + 8.0 * turn,
        "{delay:?}, a turn is {turn} us"
    );
}
