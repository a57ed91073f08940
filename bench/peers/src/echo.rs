//! CPU time of an echoed message: the server's own, in alternating rounds, compared as ratios within a round.

use crate::child::{PEERS, Server, message};
use crate::{Result, option};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// What is done: connections, messages in flight on each, bytes of a message.
const TURNS: [(&str, usize, usize, usize); 3] = [
    ("one at a time", 1, 1, 125),
    ("100 connections", 100, 1, 125),
    ("64 deep", 10, 64, 125),
];

/// `echo [--rounds N] [--seconds S] [--json FILE]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let rounds: usize = option(words, "--rounds", 7)?;
    let seconds: f64 = option(words, "--seconds", 1.0)?;
    let file: String = option(words, "--json", String::new())?;
    let mut run: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, connections, depth, len) in TURNS {
        let mut times: Vec<[f64; PEERS.len()]> = Vec::new();
        for round in 0..rounds {
            let mut row = [0.0; PEERS.len()];
            for i in 0..PEERS.len() {
                let at = if round % 2 == 0 {
                    i
                } else {
                    PEERS.len() - 1 - i
                };
                row[at] = turn(PEERS[at], connections, depth, len, seconds)?;
            }
            times.push(row);
        }
        println!("{name}, {len} B: ns of CPU time a message, and ours over theirs");
        let mut rows = Vec::new();
        for (i, peer) in PEERS.iter().enumerate() {
            let ns = median(times.iter().map(|row| row[i]));
            let ratio = median(times.iter().map(|row| row[0] / row[i]));
            println!("{peer:<20}{ns:>8.0}{ratio:>8.2}");
            rows.push(json!({ "server": peer, "ns": ns.round(), "ours_over_it": (ratio * 1000.0).round() / 1000.0 }));
        }
        run.insert(name, json!(rows));
    }
    if !file.is_empty() {
        let run = json!({ "rounds": rounds, "seconds": seconds, "echo": run });
        fs::write(file, serde_json::to_string_pretty(&run)? + "\n")?;
    }
    Ok(())
}

/// Nanoseconds of the server's CPU time for each message.
fn turn(peer: &str, connections: usize, depth: usize, len: usize, seconds: f64) -> Result<f64> {
    let server = Server::start(peer, false)?;
    server.pin()?;
    let (sent, expected) = message(len);
    let (sent, expected) = (sent.repeat(depth), expected.repeat(depth));
    let mut got = vec![0; expected.len()];
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(server.connect()?);
    }
    let mut go = |time: Duration| -> Result<(u64, u64)> {
        let (start, cpu) = (Instant::now(), server.cpu()?);
        let mut messages = 0;
        while start.elapsed() < time {
            for io in &mut open {
                io.write_all(&sent)?;
            }
            for io in &mut open {
                io.read_exact(&mut got)?;
                if got != expected {
                    return Err("not the echo of what was sent".into());
                }
            }
            messages += (connections * depth) as u64;
        }
        Ok((server.cpu()? - cpu, messages))
    };
    go(Duration::from_secs_f64(seconds / 5.0))?; // to get warm
    let (cpu, messages) = go(Duration::from_secs_f64(seconds))?;
    Ok(cpu as f64 / messages as f64)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
