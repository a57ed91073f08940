//! CPU time of an echoed message: the server thread's own clock, in alternating rounds, compared as ratios within a
//! round. Rounds in which others were busy do not count.

use crate::child::{PEERS, Server, message};
use crate::statistics::{MOST_BY_OTHERS, Others, median, upper_bound};
use crate::{Result, option};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What is done.
struct Turn {
    name: &'static str,
    connections: usize,
    /// Messages in flight on each.
    depth: usize,
    /// Bytes of a message.
    len: usize,
    /// The most that ours may cost of the best peer's, where that was promised.
    bar: Option<f64>,
}

/// The two that are promised are those of the other engine's table: 100 connections, 125 B, one or 64 in flight.
const TURNS: [Turn; 3] = [
    Turn {
        name: "100 connections, one at a time",
        connections: 100,
        depth: 1,
        len: 125,
        bar: Some(1.0),
    },
    Turn {
        name: "100 connections, 64 deep",
        connections: 100,
        depth: 64,
        len: 125,
        bar: Some(0.6),
    },
    Turn {
        name: "one connection, one at a time",
        connections: 1,
        depth: 1,
        len: 125,
        bar: None,
    },
];

/// One round: nanoseconds a message for each server, and how many cores others kept busy meanwhile.
struct Round {
    ns: [f64; PEERS.len()],
    others: f64,
}

impl Round {
    fn is_quiet(&self) -> bool {
        self.others <= MOST_BY_OTHERS
    }
}

/// `echo [--rounds N] [--seconds S] [--json FILE]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let rounds: usize = option(words, "--rounds", 11)?;
    let seconds: f64 = option(words, "--seconds", 0.5)?;
    let file: String = option(words, "--json", String::new())?;
    let mut turns = Vec::new();
    for turn in &TURNS {
        turns.push(turn.report(&turn.rounds(rounds, seconds)?));
    }
    if !file.is_empty() {
        let run = json!({ "seconds": seconds, "turns": turns });
        fs::write(file, serde_json::to_string_pretty(&run)? + "\n")?;
    }
    Ok(())
}

impl Turn {
    /// Takes rounds until so many were quiet, or three times as many were taken.
    fn rounds(&self, wanted: usize, seconds: f64) -> Result<Vec<Round>> {
        let mut rounds: Vec<Round> = Vec::new();
        let is_enough = |rounds: &[Round]| rounds.iter().filter(|r| r.is_quiet()).count() >= wanted;
        while !is_enough(&rounds) && rounds.len() < 3 * wanted {
            rounds.push(self.round(rounds.len(), seconds)?);
        }
        Ok(rounds)
    }

    /// All servers once. Who begins changes from round to round, and so does the direction.
    fn round(&self, number: usize, seconds: f64) -> Result<Round> {
        let mut ns = [0.0; PEERS.len()];
        let mut others = 0f64;
        for i in 0..PEERS.len() {
            let step = (number / 2 + i) % PEERS.len();
            let at = match number % 2 {
                0 => step,
                _ => PEERS.len() - 1 - step,
            };
            let busy;
            (ns[at], busy) = self.measure(PEERS[at], seconds)?;
            others = others.max(busy);
        }
        Ok(Round { ns, others })
    }

    /// Nanoseconds of the server's CPU time for each message, and how many cores others used.
    fn measure(&self, peer: &str, seconds: f64) -> Result<(f64, f64)> {
        let server = Server::start(peer, false)?;
        server.pin()?;
        let mut clients = Clients::connect(&server, self)?;
        clients.echo_for(Duration::from_secs_f64(seconds / 5.0))?; // to get warm
        let ours = || Ok::<_, crate::Failure>((server.cpu()? + own_cpu()?) as f64 / 1e9);
        let (others, cpu) = (Others::watch(ours()?)?, server.cpu()?);
        let messages = clients.echo_for(Duration::from_secs_f64(seconds))?;
        let used = server.cpu()? - cpu;
        Ok((used as f64 / messages as f64, others.cores(ours()?)?))
    }

    /// Prints what the rounds say, and returns it.
    fn report(&self, rounds: &[Round]) -> Value {
        let quiet: Vec<&Round> = rounds.iter().filter(|round| round.is_quiet()).collect();
        let dropped = rounds.len() - quiet.len();
        // Better something with a warning than nothing.
        let judged = match quiet.len() < LEAST_ROUNDS {
            true => rounds.iter().collect(),
            false => quiet,
        };
        let is_quiet = judged.iter().all(|round| round.is_quiet());
        println!(
            "{}, {} B: ns of CPU time a message; ours over theirs, and its upper 95 % bound; {} rounds, {dropped} dropped",
            self.name,
            self.len,
            judged.len()
        );
        let mut rows = Vec::new();
        let mut best = (0.0, "", 0.0);
        for (i, peer) in PEERS.iter().enumerate() {
            let ns = median(judged.iter().map(|round| round.ns[i]));
            let ratios = || judged.iter().map(|round| round.ns[0] / round.ns[i]);
            let (ratio, bound) = (median(ratios()), upper_bound(ratios()));
            println!("{peer:<20}{ns:>8.0}{ratio:>8.3}{bound:>8.3}");
            rows.push(json!({
                "server": peer,
                "ns": ns.round(),
                "ours_over_it": thousandths(ratio),
                "upper_95": thousandths(bound),
            }));
            if i > 0 && ratio > best.0 {
                best = (ratio, peer, bound);
            }
        }
        let (_, peer, bound) = best;
        let reached = self.bar.map(|bar| bound <= bar);
        if let (Some(bar), Some(reached)) = (self.bar, reached) {
            let word = if reached { "reached" } else { "MISSED" };
            let quiet = if is_quiet { "" } else { ", on a busy machine" };
            println!("{word}: {bound:.3} of {peer}, at most {bar:.2}{quiet}");
        }
        json!({
            "turn": self.name,
            "connections": self.connections,
            "depth": self.depth,
            "len": self.len,
            "rounds": judged.len(),
            "dropped": dropped,
            "quiet": is_quiet,
            "servers": rows,
            "best_peer": peer,
            "bar": self.bar,
            "reached": reached,
        })
    }
}

/// With fewer quiet rounds than that a bound says nothing.
const LEAST_ROUNDS: usize = 11;

/// The other ends of one measurement.
struct Clients {
    open: Vec<TcpStream>,
    sent: Vec<u8>,
    expected: Vec<u8>,
    got: Vec<u8>,
    depth: usize,
}

impl Clients {
    fn connect(server: &Server, turn: &Turn) -> Result<Clients> {
        let (sent, expected) = message(turn.len);
        let expected = expected.repeat(turn.depth);
        let open = (0..turn.connections).map(|_| server.connect());
        Ok(Clients {
            open: open.collect::<Result<_>>()?,
            sent: sent.repeat(turn.depth),
            got: vec![0; expected.len()],
            expected,
            depth: turn.depth,
        })
    }

    /// Sends on all, then reads all the answers, again and again; returns how many messages came back.
    fn echo_for(&mut self, time: Duration) -> Result<u64> {
        let start = Instant::now();
        let mut messages = 0;
        while start.elapsed() < time {
            for io in &mut self.open {
                io.write_all(&self.sent)?;
            }
            for io in &mut self.open {
                io.read_exact(&mut self.got)?;
                if self.got != self.expected {
                    return Err("not the echo of what was sent".into());
                }
            }
            messages += (self.open.len() * self.depth) as u64;
        }
        Ok(messages)
    }
}

/// This process's own CPU time, in nanoseconds; it has one thread.
fn own_cpu() -> Result<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
