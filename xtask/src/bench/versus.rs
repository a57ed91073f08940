//! `cargo xtask bench echo|fanout|handshake|flood|deflate|memory`: ours beside the peers. Every run gets a fresh server;
//! rounds alternate, A B C A B C; ratios are taken within a round. A run that others disturbed is dropped, and counted.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::contenders::{Contender, Programs, RUST, Speech};
use super::load::{Load, Said};
use super::runs;
use super::scenarios::{Bar, Beside, Place, Scenario};
use super::stats::{Ratio, median};
use super::{children, words};
use crate::sh::Result;

/// The jobs that are comparisons.
pub(crate) const JOBS: [&str; 6] = ["echo", "fanout", "handshake", "flood", "deflate", "memory"];

/// `cargo xtask bench JOB [--rounds N] [--seconds S] [--peers a,b] [--only TEXT] [--binary FILE] [--record | --disturbed]`
pub(crate) fn job(name: &str, rest: &[&str]) -> Result<()> {
    let asked = Asked::read(name, rest)?;
    children::raise_open_files(MOST_FILES)?;
    let everyone: Vec<Contender> = asked
        .scenarios
        .iter()
        .flat_map(|row| asked.who(row))
        .collect();
    let programs = Programs::prepare(&everyone, asked.binary.as_deref())?;
    // A row measured again takes the place of what it was earlier today; the others stay.
    let mut rows = match asked
        .record
        .then(|| runs::earlier_today(name))
        .transpose()?
        .flatten()
    {
        Some(earlier) => earlier["rows"].as_object().cloned().unwrap_or_default(),
        None => Map::new(),
    };
    for scenario in &asked.scenarios {
        let table = Table::fill(scenario, &asked, &programs);
        print!("{}", table.text());
        rows.insert(scenario.name.to_owned(), table.json(&asked));
        if asked.record {
            // After each row, so that what was measured is kept when a later row goes wrong.
            let run = json!({ "rows": &rows });
            runs::keep(name, run)?;
        }
    }
    Ok(())
}

struct Asked {
    scenarios: Vec<Scenario>,
    peers: Option<Vec<Contender>>,
    rounds: usize,
    seconds: f64,
    binary: Option<String>,
    record: bool,
    /// Runs count although others used the machine: to try a job out, never to be kept.
    disturbed: bool,
}

impl Asked {
    fn read(name: &str, rest: &[&str]) -> Result<Asked> {
        words::only(
            rest,
            &["--rounds", "--seconds", "--peers", "--only", "--binary"],
            &["--record", "--disturbed"],
        )?;
        let only = words::value(rest, "--only")?.unwrap_or_default();
        let peers = words::value(rest, "--peers")?;
        let peers = peers.map(|list| list.split(',').map(Contender::named).collect::<Result<_>>());
        if rest.contains(&"--record") && rest.contains(&"--disturbed") {
            return Err("disturbed runs are not recorded".into());
        }
        let mut scenarios = Scenario::of(name);
        scenarios.retain(|scenario| scenario.name.contains(only));
        if scenarios.is_empty() {
            return Err(format!("no scenario of {name} has {only:?} in its name").into());
        }
        Ok(Asked {
            scenarios,
            peers: peers.transpose()?,
            rounds: words::number(rest, "--rounds", 5)?,
            seconds: words::number(rest, "--seconds", 1.5)?,
            binary: words::value(rest, "--binary")?.map(str::to_owned),
            record: rest.contains(&"--record"),
            disturbed: rest.contains(&"--disturbed"),
        })
    }

    /// Ours, and of the others those who were asked for.
    fn who(&self, scenario: &Scenario) -> Vec<Contender> {
        let wanted = |one: &Contender| {
            let asked = self.peers.as_ref().is_none_or(|peers| peers.contains(one));
            one.is_ours() || asked
        };
        scenario.who.iter().copied().filter(wanted).collect()
    }
}

/// What came of a scenario.
struct Table<'a> {
    scenario: &'a Scenario,
    columns: Vec<Column>,
}

/// One contender's runs, by round.
struct Column {
    contender: Contender,
    /// `None`: dropped, or it failed.
    runs: Vec<Option<Said>>,
    /// Dropped, for others used too much of the machine.
    disturbed: usize,
    faults: Vec<String>,
}

impl<'a> Table<'a> {
    fn fill(scenario: &'a Scenario, asked: &Asked, programs: &Programs) -> Table<'a> {
        println!("\n{}: {}", scenario.name, scenario.what);
        let column = |contender| Column {
            contender,
            runs: Vec::new(),
            disturbed: 0,
            faults: Vec::new(),
        };
        let mut columns: Vec<Column> = asked.who(scenario).into_iter().map(column).collect();
        let load = Load {
            tidegate: &programs.tidegate,
            seconds: asked.seconds,
            workers: 1,
        };
        // As many rounds again may be spent on those that were disturbed, no more.
        let mut spare = asked.rounds;
        let most = if asked.disturbed {
            f64::INFINITY
        } else {
            MOST_DISTURBANCE
        };
        let mut round = 0;
        while round < asked.rounds + (asked.rounds - spare) {
            let dropped: usize = columns
                .iter_mut()
                .map(|column| column.run(scenario, programs, &load, most))
                .sum();
            spare -= usize::from(dropped > 0 && spare > 0);
            round += 1;
            let busy = if dropped > 0 {
                format!(", {dropped} dropped")
            } else {
                String::new()
            };
            println!("  round {round}{busy}");
        }
        Table { scenario, columns }
    }

    /// Ours over theirs.
    fn ratio(&self, theirs: &Column) -> Option<Ratio> {
        Ratio::of(&self.columns[0].costs(), &theirs.costs())
    }

    fn column(&self, contender: Contender) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.contender == contender)
    }

    /// Whom a bar is about.
    fn beside(&self, bar: &Bar) -> Option<&Column> {
        match bar.beside {
            Beside::One(contender) => self.column(contender),
            Beside::BestRust => {
                let rust = RUST.into_iter().filter_map(|one| self.column(one));
                let known = rust.filter_map(|column| Some((column, column.median()?)));
                known
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .map(|(column, _)| column)
            }
        }
    }

    /// The other forms of ours have to reach the same.
    fn ours(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.contender.is_ours())
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (bar, ours) in self
            .scenario
            .bars
            .iter()
            .flat_map(|bar| self.ours().map(move |ours| (bar, ours)))
        {
            let Some(theirs) = self.beside(bar) else {
                continue;
            };
            if let Some(ratio) = Ratio::of(&ours.costs(), &theirs.costs()) {
                verdicts.push(Verdict {
                    ours: ours.contender,
                    theirs: theirs.contender,
                    most: bar.most,
                    ratio,
                });
            }
        }
        verdicts
    }

    fn text(&self) -> String {
        let memory = self.scenario.words[0] == "idle";
        let unit = if memory { "B each" } else { "ns each" };
        let mut text = format!(
            "  {:<20}{unit:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>10}{:>6}\n",
            "", "ours/it", "at most", "per s", "p50 us", "p99 us", "B back", "runs"
        );
        for column in &self.columns {
            let ratio = self.ratio(column);
            let number = |value: Option<f64>, digits: usize| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let _ = writeln!(
                text,
                "  {:<20}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>10}{:>6}{}",
                column.contender.name(),
                number(column.median(), 0),
                number(ratio.map(|ratio| ratio.median), 2),
                number(ratio.map(|ratio| ratio.upper), 2),
                number(column.middle(|said| said.number("per_second")), 0),
                number(
                    column.middle(|said| said.0["latency_us"]["p50"].as_f64()),
                    0
                ),
                number(
                    column.middle(|said| said.0["latency_us"]["p99"].as_f64()),
                    0
                ),
                number(column.middle(Said::bytes_back), 1),
                column.costs().iter().flatten().count(),
                column.remark(),
            );
        }
        for verdict in self.verdicts() {
            let _ = writeln!(text, "  {verdict}");
        }
        text
    }

    fn json(&self, asked: &Asked) -> Value {
        let columns = self.columns.iter().map(|column| {
            (
                column.contender.name().to_owned(),
                column.json(self.ratio(column)),
            )
        });
        json!({
            "what": self.scenario.what,
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "load": self.scenario.words.join(" "),
            "servers": Value::Object(columns.collect()),
            "must_reach": self.verdicts().iter().map(Verdict::json).collect::<Vec<Value>>(),
        })
    }
}

impl Column {
    /// One more run; returns 1 when it had to be dropped for what others did.
    fn run(
        &mut self,
        scenario: &Scenario,
        programs: &Programs,
        load: &Load<'_>,
        most: f64,
    ) -> usize {
        let said = self.once(scenario, programs, load);
        let (kept, dropped) = match said {
            Ok(said) if said.disturbance().is_some_and(|cores| cores > most) => (None, 1),
            Ok(said) => (Some(said), 0),
            Err(why) => {
                println!("  {}: {why}", self.contender.name());
                self.faults.push(why.to_string());
                (None, 0)
            }
        };
        self.runs.push(kept);
        self.disturbed += dropped;
        dropped
    }

    fn once(&self, scenario: &Scenario, programs: &Programs, load: &Load<'_>) -> Result<Said> {
        if self.faults.len() >= MOST_FAULTS {
            return Err("it failed too often to be tried again".into());
        }
        let speech = match scenario.place {
            Place::Deflate => Speech::Deflate,
            _ => Speech::Plain,
        };
        let server = programs.start(self.contender, load.workers, speech)?;
        let (path, more) = scenario.target(self.contender);
        let words = [scenario.words, more].concat();
        load.run(
            &words,
            server.pid(),
            &format!("ws://127.0.0.1:{}{path}", server.port),
        )
    }

    fn costs(&self) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.as_ref()?.cost()).collect()
    }

    fn median(&self) -> Option<f64> {
        self.middle(Said::cost)
    }

    fn middle(&self, of: impl Fn(&Said) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.runs.iter().flatten().filter_map(of).collect();
        median(&values)
    }

    fn remark(&self) -> String {
        let mut remark = String::new();
        if self.disturbed > 0 {
            let _ = write!(remark, "  {} dropped", self.disturbed);
        }
        if let Some(fault) = self.faults.first() {
            let _ = write!(remark, "  {} failed: {fault}", self.faults.len());
        }
        remark
    }

    fn json(&self, ratio: Option<Ratio>) -> Value {
        // What one run says of itself, without what is the same in all.
        let runs = self.runs.iter().flatten().map(|said| {
            let mut said = said.0.clone();
            if let Some(fields) = said.as_object_mut() {
                fields.retain(|name, _| !SAME_IN_ALL.contains(&name.as_str()));
            }
            said
        });
        json!({
            "median": self.median(),
            "bytes_back": self.middle(Said::bytes_back),
            "ours_over_it": ratio.map(|ratio| ratio.median),
            "ours_over_it_upper_95": ratio.map(|ratio| ratio.upper),
            "rounds_compared": ratio.map(|ratio| ratio.rounds),
            "dropped": self.disturbed,
            "faults": self.faults,
            "runs": runs.collect::<Vec<Value>>(),
        })
    }
}

struct Verdict {
    ours: Contender,
    theirs: Contender,
    most: f64,
    ratio: Ratio,
}

impl Verdict {
    fn is_met(&self) -> bool {
        self.ratio.upper <= self.most
    }

    fn json(&self) -> Value {
        json!({
            "ours": self.ours.name(), "beside": self.theirs.name(), "at_most": self.most,
            "median": self.ratio.median, "upper_95": self.ratio.upper, "met": self.is_met(),
        })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.is_met() { "met   " } else { "MISSED" };
        let (ours, theirs) = (self.ours.name(), self.theirs.name());
        let (upper, median, rounds) = (self.ratio.upper, self.ratio.median, self.ratio.rounds);
        write!(
            f,
            "{word} {ours} over {theirs}: {upper:.3} (median {median:.3}, {rounds} rounds), at most {}",
            self.most
        )
    }
}

/// Cores that others may use; beyond it a run says more of them than of the server.
const MOST_DISTURBANCE: f64 = 1.0 / 3.0;
/// Who fails so often is left out.
const MOST_FAULTS: usize = 3;
/// Sockets of the largest scenario, and some.
const MOST_FILES: usize = 19_000;
const SAME_IN_ALL: [&str; 12] = [
    "schema",
    "tidegate",
    "mode",
    "url",
    "outcome",
    "exit",
    "tls",
    "connections",
    "server_pids",
    "unit",
    "dialect",
    "kind",
];
