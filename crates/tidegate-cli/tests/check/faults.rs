//! The server with seeded faults: without any, nothing is found; with each, what it is and nothing else.

use crate::bad::{self, FAULTS};
use crate::support::{found, report};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

#[test]
fn a_server_without_faults_has_no_finding_and_grade_a() {
    let report = report(
        &format!("ws://{}/", bad::serve(&[])),
        &["--wait", "10", "--max-message", "2"],
    );
    assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["inconclusive"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["grade"], "A");
    let limits = report["limits"].as_array().expect("limits");
    let passed = |name: &str| {
        let limit = limits.iter().find(|limit| limit["name"] == name);
        limit.unwrap_or_else(|| panic!("{name} is told"))["passed"].as_u64()
    };
    assert_eq!(passed("message in one frame"), Some(1 << 20));
    assert_eq!(passed("message in frames of 64 KiB"), Some(1 << 20));
    assert_eq!(passed("fragments of a message"), Some(1_024));
    assert_eq!(passed("pings at once"), Some(1_000));
}

#[test]
fn every_seeded_fault_is_found_and_nothing_else() {
    let left = Mutex::new(FAULTS.iter());
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().expect("no test panics here").next();
            let Some((fault, expected)) = next else {
                return;
            };
            let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
            let report = report(&format!("ws://{}/", bad::serve(&[fault])), &how(&expected));
            if found(&report) != expected {
                let mut wrong = wrong.lock().expect("no test panics here");
                wrong.push(format!(
                    "{fault}: found {:?}, not {expected:?}\n{report:#}",
                    found(&report)
                ));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().expect("no test panics here");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(FAULTS.len() >= 20);
}

/// The level that shows it. What is looked for is all of the level, but limits only where one is missing: they take long.
fn how(expected: &BTreeSet<String>) -> Vec<&'static str> {
    let about = |start: &str| expected.iter().any(|id| id.starts_with(start));
    if about("R") || about("F5") {
        vec!["--wait", "5", "--max-conns", "3", "--max-message", "2"]
    } else if about("F") {
        vec!["--only", "A0,F0,F1,F2,F3,F4,F6,F7,F9,F10,F11"]
    } else {
        vec!["--level", "handshake", "--wait", "5"]
    }
}
