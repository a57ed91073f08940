//! `cargo xtask bench async`: builds `bench/peers` and has it measure echo servers on tokio, ours beside the peers'. Times
//! on a shared machine are judged as ratios, never alone. And the tables of a kept run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::runs;
use crate::sh::{self, Result};
use crate::tree;

/// What is measured: a name in the kept run, and the program's words.
const PARTS: [(&str, &[&str]); 3] = [
    ("idle", &["idle"]),
    ("idle_tls", &["idle", "--tls"]),
    ("echo", &["echo"]),
];

/// `cargo xtask bench async [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let record = match words {
        [] => false,
        ["--record"] => true,
        _ => return Err("usage: cargo xtask bench async [--record]".into()),
    };
    let program = super::build("peers")?;
    let mut run = json!({ "load_average": load() });
    for (name, words) in PARTS {
        run[name] = part(&program, words)?;
    }
    if record {
        runs::keep("async", run)?;
    }
    Ok(())
}

fn part(program: &Path, words: &[&str]) -> Result<Value> {
    let file = tree::target().join("async.json");
    let ran = sh::show(Command::new(program).args(words).arg("--json").arg(&file))?;
    if !ran.ok {
        return Err("bench/peers failed".into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// How busy the machine was with other things: above its cores, times mean little and ratios something.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// A kept run as the guide shows it: memory, then the time of a message.
pub(crate) fn tables(run: &Value) -> String {
    let mut text = String::from(
        "**An idle connection with its task**, bytes of resident memory (`cargo xtask bench async`)\n\n\
         | library | fresh | after a message | TLS, fresh | after a message |\n|---|--:|--:|--:|--:|\n",
    );
    for plain in list(&run["idle"]["rss_per_connection"]) {
        let name = plain["server"].as_str().unwrap_or_default();
        let tls = find(&run["idle_tls"]["rss_per_connection"], name);
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            whole(&plain["untouched"]),
            whole(&plain["used"]),
            whole(&tls["untouched"]),
            whole(&tls["used"]),
        );
    }
    for turn in list(&run["echo"]["turns"]) {
        let _ = write!(
            text,
            "\n**Echo, {}, {} B**, CPU time of the server ({} rounds of {} s)\n\n\
             | library | ns each | ours / it | 95 % below |\n|---|--:|--:|--:|\n",
            turn["turn"].as_str().unwrap_or_default(),
            turn["len"],
            turn["rounds"],
            run["echo"]["seconds"],
        );
        for server in list(&turn["servers"]) {
            let ratio = |name: &str| server[name].as_f64().unwrap_or(f64::NAN);
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.2} |",
                server["server"].as_str().unwrap_or_default(),
                whole(&server["ns"]),
                ratio("ours_over_it"),
                ratio("upper_95"),
            );
        }
    }
    text
}

fn list(rows: &Value) -> impl Iterator<Item = &Value> {
    rows.as_array().into_iter().flatten()
}

/// The row of a server; nothing where it was not measured.
fn find<'a>(rows: &'a Value, name: &str) -> &'a Value {
    list(rows)
        .find(|row| row["server"] == name)
        .unwrap_or(&Value::Null)
}

fn whole(value: &Value) -> String {
    value
        .as_f64()
        .map_or("-".to_owned(), |value| format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use super::tables;
    use serde_json::json;

    #[test]
    fn a_kept_run_becomes_tables() {
        let rss =
            |server, untouched| json!({ "server": server, "untouched": untouched, "used": 7 });
        let servers = json!([{ "server": "tidegate", "ns": 2611.4, "ours_over_it": 0.98, "upper_95": 0.991 }]);
        let turn = json!({ "turn": "64 deep", "len": 125, "rounds": 11, "servers": servers });
        let run = json!({
            "idle": { "rss_per_connection": [rss("tidegate", 1740), rss("yawc", 11262)] },
            "idle_tls": { "rss_per_connection": [rss("tidegate", 11984)] },
            "echo": { "seconds": 0.5, "turns": [turn] },
        });
        let text = tables(&run);
        for row in [
            "| tidegate | 1740 | 7 | 11984 | 7 |",
            "| yawc | 11262 | 7 | - | - |",
            "**Echo, 64 deep, 125 B**, CPU time of the server (11 rounds of 0.5 s)",
            "| tidegate | 2611 | 0.98 | 0.99 |",
        ] {
            assert!(text.contains(row), "{row} in\n{text}");
        }
    }
}
