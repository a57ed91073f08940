//! Many schedules in a row. It stops at the first that fails, and says which it was.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use tidegate_sim::schedule::{self, Tally};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (Some(Ok(count)), first) = (words.next(), words.next()) else {
        eprintln!("usage: tidegate-sim SEEDS [FIRST]");
        return ExitCode::from(2);
    };
    let first = first.and_then(Result::ok).unwrap_or(0);
    for workers in [1, 2, 4] {
        let mut sum = Tally::default();
        for seed in first..first + count {
            match std::panic::catch_unwind(|| schedule::run(workers, seed)) {
                Ok(tally) => sum.add(&tally),
                Err(_) => {
                    eprintln!("FAILED: {workers} workers, seed {seed}");
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("{workers} workers, {count} seeds: {sum:?}");
    }
    ExitCode::SUCCESS
}
