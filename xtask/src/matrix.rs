//! `cargo xtask guard-matrix`: the upgrade probes of the security study, side by side against the guard, nginx and haproxy,
//! before an upstream that does what an attacker wants. It says what each let through, and writes the guide's table.

mod doors;
mod probes;
mod upstream;

use std::fs;
use std::path::Path;

use crate::sh::Result;
use crate::steps::{Count, Steps};
use crate::{interop, server, setup, tree};
use doors::Door;
use upstream::Upstream;

/// `cargo xtask guard-matrix`
pub(crate) fn job() -> Result<()> {
    setup::ensure("proxies")?;
    let binary = server::build(false)?;
    let matrix = Matrix::ask(&binary)?;
    print!("{}", matrix.table());
    fs::write(chapter(), matrix.chapter())?;
    match matrix.breaches() {
        none if none.is_empty() => Ok(()),
        some => Err(format!("through the guard: {}", some.join("; ")).into()),
    }
}

/// The step of `cargo xtask test`: nothing passes the guard, and the kept table is what is seen. What other versions of the
/// proxies do differently is told and is no failure: they are not ours.
pub(crate) fn step(steps: &mut Steps, binary: &Path) {
    interop::step(steps, "guard matrix", &["proxies"], || {
        let matrix = Matrix::ask(binary)?;
        print!("{}", matrix.table());
        let breaches = matrix.breaches();
        breaches
            .iter()
            .for_each(|breach| println!("through the guard: {breach}"));
        let kept = fs::read_to_string(chapter()).unwrap_or_default();
        let ours = matrix
            .rows
            .iter()
            .all(|row| kept.contains(&row.beginning()));
        if !ours {
            println!("the guide's table says otherwise; `cargo xtask guard-matrix` writes it anew");
        }
        let good = matrix.rows.len() - breaches.len();
        Ok(Count {
            passed: good,
            failed: breaches.len() + usize::from(!ours),
        })
    });
}

fn chapter() -> std::path::PathBuf {
    tree::root().join("docs/guide/guard-matrix.md")
}

/// What came of one probe.
struct Row {
    name: &'static str,
    /// In the order of the doors.
    found: Vec<String>,
    /// What the guard must say.
    wanted: &'static [&'static str],
}

impl Row {
    /// The probe and what the guard did, as they stand in the table.
    fn beginning(&self) -> String {
        format!("| {} | {} |", self.name, self.found[0])
    }
}

struct Matrix {
    doors: Vec<String>,
    rows: Vec<Row>,
}

impl Matrix {
    fn ask(binary: &Path) -> Result<Self> {
        let folder = tree::target().join("guard-matrix");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let upstream = Upstream::start()?;
        let doors = [
            Door::guard(binary, upstream.port(), &folder)?,
            Door::nginx(upstream.port(), &folder)?,
            Door::haproxy(upstream.port(), &folder)?,
        ];
        let mut rows = Vec::new();
        for probe in probes::ALL {
            let mut found = Vec::new();
            for door in &doors {
                let said = (probe.run)(door.port(), &upstream);
                found.push(said.map_err(|why| format!("{}: {}: {why}", door.name(), probe.name))?);
            }
            rows.push(Row {
                name: probe.name,
                found,
                wanted: probe.wanted,
            });
        }
        Ok(Self {
            doors: doors.iter().map(|door| door.name().to_owned()).collect(),
            rows,
        })
    }

    /// What the guard let through, or answered otherwise than it must.
    fn breaches(&self) -> Vec<String> {
        let bad = |row: &&Row| !row.wanted.contains(&row.found[0].as_str());
        let rows = self.rows.iter().filter(bad);
        rows.map(|row| format!("{}: {}", row.name, row.found[0]))
            .collect()
    }

    fn table(&self) -> String {
        let mut table = format!("| probe | {} |\n", self.doors.join(" | "));
        table += &format!("|---|{}\n", "---|".repeat(self.doors.len()));
        for row in &self.rows {
            let passed = |found: &String| {
                ["reached", "forwarded", "tunnel"]
                    .iter()
                    .any(|word| found.starts_with(word))
            };
            let cells = row.found.iter().map(|found| match passed(found) {
                true => format!("**{found}**"),
                false => found.clone(),
            });
            table += &format!(
                "| {} | {} |\n",
                row.name,
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        table
    }

    fn chapter(&self) -> String {
        format!("{HEAD}\n{}\n{FOOT}", self.table())
    }
}

const HEAD: &str = "\
# The guard beside nginx and haproxy

Written by `cargo xtask guard-matrix`: a raw client asks for WebSockets in bad ways, through each of the three, before an
upstream that answers as an attacker would want it to. Bold is what came through: *reached* means that a second request, to a path
which all three were told to refuse, arrived at the upstream over the same connection.
";

const FOOT: &str = "\
nginx and haproxy are Debian's packages with the usual configuration for WebSockets (`proxy_http_version 1.1`, `Upgrade` and
`Connection` passed on; haproxy in HTTP mode), which is what most servers run behind. They are not made to look into a connection
after the 101, and later versions or other settings may do otherwise. `cargo xtask test` asks the same of the guard each time.
";
