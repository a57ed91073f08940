//! `cargo xtask bench scale`: what ours costs as one thing grows: connections, subscribers, the size of a message, workers.
//! Points of all series are measured in turn, round after round. It compares with nobody.

use serde_json::{Map, Value, json};

use super::contenders::{Contender, Programs, Speech};
use super::load::{Load, Said};
use super::stats::median;
use super::{children, runs, words};
use crate::sh::Result;

/// One point of a series.
struct Point {
    series: &'static str,
    /// What grows.
    x: u32,
    words: Vec<String>,
    path: &'static str,
    workers: u16,
}

/// `cargo xtask bench scale [--rounds N] [--seconds S] [--only SERIES] [--binary FILE] [--record]`
pub(crate) fn job(rest: &[&str]) -> Result<()> {
    words::only(
        rest,
        &["--rounds", "--seconds", "--only", "--binary"],
        &["--record"],
    )?;
    let rounds: usize = words::number(rest, "--rounds", 3)?;
    let seconds = words::number(rest, "--seconds", 1.5)?;
    let only = words::value(rest, "--only")?.unwrap_or_default();
    children::raise_open_files(MOST_FILES)?;
    let programs = Programs::prepare(&[Contender::Tidegate], words::value(rest, "--binary")?)?;
    let mut points = points();
    points.retain(|point| point.series.contains(only));
    let mut runs: Vec<Vec<Said>> = points.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (point, runs) in points.iter().zip(&mut runs) {
            match once(point, &programs, seconds) {
                Ok(said) => runs.push(said),
                Err(why) => println!("{} {}: {why}", point.series, point.x),
            }
        }
        println!("round {round} of {rounds}");
    }
    let mut series = table(&points, &runs);
    if rest.contains(&"--record") {
        // Series that were not measured again stay as they were earlier today.
        let earlier = runs::earlier_today("scale")?.unwrap_or_default();
        for (name, points) in earlier["series"].as_object().into_iter().flatten() {
            series.entry(name).or_insert_with(|| points.clone());
        }
        runs::keep(
            "scale",
            json!({ "rounds": rounds, "seconds": seconds, "series": series }),
        )?;
    }
    Ok(())
}

fn once(point: &Point, programs: &Programs, seconds: f64) -> Result<Said> {
    let words: Vec<&str> = point.words.iter().map(String::as_str).collect();
    let (speech, scheme) = match words.contains(&INSECURE) {
        true => (Speech::Tls, "wss"),
        false => (Speech::Plain, "ws"),
    };
    let server = programs.start(Contender::Tidegate, point.workers, speech)?;
    let load = Load {
        tidegate: &programs.tidegate,
        seconds,
        workers: point.workers,
    };
    load.run(
        &words,
        server.pid(),
        &format!("{scheme}://127.0.0.1:{}{}", server.port, point.path),
    )
}

/// Prints the medians and gives them back, series by series.
fn table(points: &[Point], runs: &[Vec<Said>]) -> Map<String, Value> {
    let mut series = Map::new();
    for (point, runs) in points.iter().zip(runs) {
        let middle = |of: &dyn Fn(&Said) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            median(&values)
        };
        let cost = middle(&Said::cost);
        let rate = middle(&|said| said.number("per_second"));
        let p50 = middle(&|said| said.0["latency_us"]["p50"].as_f64());
        let p99 = middle(&|said| said.0["latency_us"]["p99"].as_f64());
        let disturbed = middle(&Said::disturbance);
        let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        println!(
            "{:<14}{:>9}{:>10} each{:>12} per s{:>9} us p50{:>9} us p99",
            point.series,
            point.x,
            text(cost),
            text(rate),
            text(p50),
            text(p99)
        );
        let row = json!({
            "x": point.x, "cost": cost, "per_second": rate, "p50_us": p50, "p99_us": p99,
            "other_cores": disturbed, "runs": runs.len(), "load": point.words.join(" "),
        });
        let rows = series.entry(point.series).or_insert_with(|| json!([]));
        if let Some(rows) = rows.as_array_mut() {
            rows.push(row);
        }
    }
    series
}

fn points() -> Vec<Point> {
    let mut points = Vec::new();
    let mut add = |series, x, line: String, path, workers| {
        points.push(Point {
            series,
            x,
            words: line.split(' ').map(str::to_owned).collect(),
            path,
            workers,
        });
    };
    for n in [1, 100, 1_000, 10_000, 18_000] {
        add("connections", n, format!("echo -c {n} -s 125"), ECHO, 1);
    }
    for n in [1_000, 10_000, 18_000] {
        add("memory", n, format!("idle -c {n}"), ECHO, 1);
    }
    for n in [1_000, 10_000] {
        let line = format!("idle -c {n} {INSECURE}");
        add("memory TLS", n, line, ECHO, 1);
    }
    for size in [125, 16 << 10] {
        let line = format!("echo -c 10 -s {size} --binary {INSECURE}");
        add("size TLS", size, line, ECHO, 1);
    }
    for n in [10, 1_000, 10_000, 18_000] {
        add(
            "subscribers",
            n,
            format!("fanout -c {n} -s 128 {DIALECT}"),
            HUB,
            1,
        );
    }
    for size in [
        16,
        125,
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
    ] {
        let connections = if size < 64 << 10 { 10 } else { 4 };
        add(
            "size",
            size,
            format!("echo -c {connections} -s {size} --binary"),
            ECHO,
            1,
        );
    }
    for workers in [1, 2] {
        add(
            "workers echo",
            workers.into(),
            "echo -c 100 -s 125".to_owned(),
            ECHO,
            workers,
        );
        add(
            "workers deep",
            workers.into(),
            "echo -c 100 -s 125 --depth 64".to_owned(),
            ECHO,
            workers,
        );
        let line = format!("fanout -c 1000 -s 128 {DIALECT}");
        add("workers fanout", workers.into(), line, HUB, workers);
    }
    points
}

const ECHO: &str = "/echo?deflate=off";
const HUB: &str = "/connection/websocket";
const DIALECT: &str = "--dialect centrifuge-json --channel bench:room";
/// The certificate is the server's own, so nobody knows it: such a point speaks TLS.
const INSECURE: &str = "--insecure";
const MOST_FILES: usize = 19_000;
