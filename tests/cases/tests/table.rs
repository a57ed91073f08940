//! The case table against the core: a connection, a worker, a client's handshake, in every way of feeding.

use tidegate_cases::{Case, cases, run};

/// The rows of one file; `TIDEGATE_CASE` picks those whose name contains it, or is it after a `=`.
fn rows(file: &str) -> Vec<Case> {
    let wanted = std::env::var("TIDEGATE_CASE").unwrap_or_default();
    let mut rows = cases().to_vec();
    let picked = |name: &str| match wanted.strip_prefix('=') {
        Some(exact) => name == exact,
        None => name.contains(&wanted),
    };
    rows.retain(|case| case.place.starts_with(file) && picked(&case.name));
    rows
}

fn check(file: &str, least: usize) {
    let rows = rows(file);
    let only_some = std::env::var_os("TIDEGATE_CASE").is_some();
    assert!(
        rows.len() >= least || only_some,
        "{file} has lost rows: {}",
        rows.len()
    );
    let results: Vec<_> = rows.iter().map(run::all_ways).collect();
    let faults: Vec<String> = results
        .iter()
        .filter_map(|result| result.clone().err())
        .collect();
    let runs: usize = results.into_iter().flatten().sum();
    assert!(
        faults.is_empty(),
        "{} rows are wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
    println!("{file}: {} rows, {runs} runs", rows.len());
}

#[test]
fn the_handshake_rows_hold() {
    check("handshake.txt", 160);
}

#[test]
fn the_frame_rows_hold() {
    check("frames.txt", 190);
}

#[test]
fn the_close_rows_hold() {
    check("close.txt", 120);
}

#[test]
fn the_utf8_rows_hold() {
    check("utf8.txt", 80);
}

#[test]
fn the_resource_rows_hold() {
    check("resources.txt", 40);
}

#[test]
fn the_deflate_rows_hold() {
    check("deflate.txt", 90);
}
