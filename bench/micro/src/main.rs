//! Measures in memory, without a socket: masking, UTF-8, parsing, echo turns; beside memcpy, bare loops and the peers.
//! It judges by ratios taken in alternating rounds, for the machine is shared; it never claims absolute rates.

#![forbid(unsafe_code)]

mod bare;
mod buffer;
mod cases;
mod echo;
mod mask;
mod measure;
mod peers;
mod source;
mod stream;
mod text;
mod tide;
mod utf8;
mod verdict;

use measure::Rounds;
use serde_json::{Value, json};
use std::process::ExitCode;

const USAGE: &str = "\
usage: tidegate-micro time [--rounds N] [--json FILE] [group-prefix]
       tidegate-micro count GROUP CONTENDER OPS     (runs it once, for callgrind to count)
       tidegate-micro list
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"time", rest)) => time(rest),
        Some((&"count", &[group, contender, ops])) => count(group, contender, ops),
        Some((&"list", &[])) => list(),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn time(mut words: &[&str]) -> Result<(), String> {
    let (mut rounds, mut file, mut prefix) = (DEFAULT_ROUNDS, None, "");
    while let Some((word, rest)) = words.split_first() {
        words = rest;
        match *word {
            "--rounds" => rounds = value(&mut words)?.parse().map_err(|_| USAGE)?,
            "--json" => file = Some(value(&mut words)?),
            word => prefix = word,
        }
    }
    let mut groups = Vec::new();
    for name in cases::names().filter(|name| name.starts_with(prefix)) {
        let mut group = cases::group(&name).expect("a listed group exists");
        let rounds = Rounds::run(&mut group.contenders, rounds);
        print!("{}", rounds.table(&name, group.bytes));
        groups.push(rounds.json(&name, group.bytes));
    }
    let verdicts = verdict::judge(&groups);
    for verdict in &verdicts {
        println!("{verdict}");
    }
    if let Some(file) = file {
        let all = json!({
            "rounds": rounds,
            "groups": groups,
            "must_reach": verdicts.iter().map(verdict::Verdict::json).collect::<Vec<Value>>(),
        });
        let text = serde_json::to_string_pretty(&all).expect("plain values become JSON");
        std::fs::write(file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn value<'a>(words: &mut &[&'a str]) -> Result<&'a str, String> {
    let (value, rest) = words.split_first().ok_or(USAGE)?;
    *words = rest;
    Ok(value)
}

fn count(group: &str, contender: &str, ops: &str) -> Result<(), String> {
    let ops: u64 = ops.parse().map_err(|_| USAGE)?;
    let mut group = cases::group(group).ok_or("no such group; see `list`")?;
    let contender = group
        .contenders
        .iter_mut()
        .find(|c| c.name == contender)
        .ok_or("no such contender on this CPU; see `list`")?;
    println!("{}", (contender.run)(ops));
    Ok(())
}

fn list() -> Result<(), String> {
    for name in cases::names() {
        let group = cases::group(&name).expect("a listed group exists");
        let names: Vec<&str> = group.contenders.iter().map(|c| c.name).collect();
        println!("{name}: {}", names.join(", "));
    }
    Ok(())
}

const DEFAULT_ROUNDS: usize = 300;
