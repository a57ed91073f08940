//! The fuzzers' corpora and seeds as plain tests, and a little fuzzing that needs no fuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use tidegate_cases::random::Numbers;
use tidegate_cases::seeds;
use tidegate_cases::targets::{TARGETS, Target};

/// Changes to each seed.
const CHANGES: usize = 40;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    files(&folder.join(target.name))
}

/// The contents of a folder's files; none where there is no folder.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.expect("a file").path());
    entries
        .map(|entry| read(entry).expect("a readable file"))
        .collect()
}

#[test]
fn the_corpora_break_no_promise() {
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() > 5, "{} has lost its corpus", target.name);
        inputs.iter().for_each(|input| (target.run)(input));
    }
}

#[test]
fn what_the_fuzzers_once_found_stays_mended() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/found");
    let mut inputs = 0;
    for target in TARGETS {
        for input in files(&folder.join(target.name)) {
            inputs += 1;
            (target.run)(&input);
        }
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn seeds_and_small_changes_to_them_break_no_promise() {
    let mut numbers = Numbers(0x5EED);
    for target in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds::of(target.name).into_iter().collect();
        for seed in &seeds {
            (target.run)(seed);
            for _ in 0..CHANGES {
                let mut input = seed.clone();
                change(&mut numbers, &mut input, &seeds);
                (target.run)(&input);
            }
        }
    }
}

/// Turns, cuts, doubles, inserts, or joins with another seed.
fn change(numbers: &mut Numbers, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(input.len().max(1)).min(input.len());
        match numbers.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            1 if !input.is_empty() => {
                input[at] = *numbers.pick(&[0, 1, 0x7E, 0x7F, 0x80, 0xFE, 0xFF])
            }
            2 => input.truncate(at),
            3 => input.insert(at, numbers.next_word() as u8),
            4 => input.extend_from_within(at..),
            _ => input.extend(numbers.pick(seeds)),
        }
        input.truncate(3_000);
    }
}
