//! The table's files and how their lines are read; it never runs a row.

use crate::bytes::{Names, Reader, Step};
use crate::expect::{self, Ending, Expect};
use crate::settings::Settings;
use std::sync::OnceLock;
use tidegate_proto::Role;

/// The table, file by file.
const FILES: &[(&str, &str)] = &[
    (
        "handshake.txt",
        include_str!("../../conformance/cases/handshake.txt"),
    ),
    (
        "frames.txt",
        include_str!("../../conformance/cases/frames.txt"),
    ),
    (
        "close.txt",
        include_str!("../../conformance/cases/close.txt"),
    ),
    ("utf8.txt", include_str!("../../conformance/cases/utf8.txt")),
    (
        "deflate.txt",
        include_str!("../../conformance/cases/deflate.txt"),
    ),
    (
        "resources.txt",
        include_str!("../../conformance/cases/resources.txt"),
    ),
];

/// Where a row begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Before the opening handshake.
    Handshake,
    /// After it.
    Open,
}

/// One row for one role.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and line, for messages.
    pub place: String,
    /// What it shows.
    pub name: String,
    /// Where it begins.
    pub stage: Stage,
    /// Whose behaviour it judges.
    pub role: Role,
    /// Limits and policies.
    pub settings: Settings,
    /// What happens.
    pub steps: Vec<Step>,
    /// What must come of it.
    pub expected: Vec<Expect>,
}

impl Case {
    /// How it ends, if it does.
    pub fn ending(&self) -> Option<&Ending> {
        expect::ending(&self.expected)
    }

    /// More octets may follow it: nothing is cut off and nothing has ended.
    pub fn takes_a_tail(&self) -> bool {
        let closed = |step: &Step| matches!(step, Step::Close(..) | Step::Eof);
        let open = |expect: &Expect| {
            matches!(
                expect,
                Expect::Message { .. }
                    | Expect::Sends(_)
                    | Expect::Pongs
                    | Expect::Answer(101, _)
                    | Expect::Has(_)
                    | Expect::Lacks(_)
                    | Expect::Compressed(_)
                    | Expect::Accepted(_)
            )
        };
        self.expected.iter().all(open) && !self.steps.iter().any(closed)
    }

    /// All octets of the peer, one after another.
    pub fn octets(&self) -> Vec<u8> {
        let bytes = |step: &Step| match step {
            Step::Bytes(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        self.steps.iter().flat_map(bytes).collect()
    }

    /// It is nothing but octets: anybody can be asked.
    pub fn is_only_octets(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Bytes(_)))
    }
}

/// The whole table.
///
/// # Panics
/// When a row cannot be read; the message says where and why.
pub fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let read =
            |(file, text): &(&str, &str)| parse(file, text).unwrap_or_else(|why| panic!("{why}"));
        FILES.iter().flat_map(read).collect()
    })
}

/// Reads one file's text.
///
/// # Errors
/// The place and what is wrong there.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut table = Table {
        file,
        names: Names::new(),
        stage: Stage::Open,
        settings: Settings::default(),
        cases: Vec::new(),
    };
    for (at, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", at + 1);
        table
            .line(&place, line)
            .map_err(|why| format!("{place}: {why}"))?;
    }
    Ok(table.cases)
}

struct Table<'a> {
    file: &'a str,
    names: Names,
    stage: Stage,
    settings: Settings,
    cases: Vec<Case>,
}

impl Table<'_> {
    fn line(&mut self, place: &str, line: &str) -> Result<(), String> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        match line
            .split_once(' ')
            .map_or((line, ""), |(word, rest)| (word, rest))
        {
            ("stage", "handshake") => self.stage = Stage::Handshake,
            ("stage", "open") => self.stage = Stage::Open,
            ("with", words) => self.settings = Settings::parse(words)?,
            ("let", definition) => {
                let (name, text) = definition
                    .split_once(" = ")
                    .ok_or("let wants name = octets")?;
                let bytes = Reader::new(text, &self.names, Role::Server).bytes_before(&[])?;
                self.names.insert(name.trim().to_owned(), bytes);
            }
            _ => self.row(place, line)?,
        }
        Ok(())
    }

    /// `name  role  octets → expected`
    fn row(&mut self, place: &str, line: &str) -> Result<(), String> {
        let (left, right) = line
            .split_once(" → ")
            .ok_or("a row has an arrow with spaces around it")?;
        let (name, rest) = left.split_once("  ").ok_or("two spaces end a name")?;
        let rest = rest.trim_start();
        let (role, script) = rest.split_once(' ').unwrap_or((rest, ""));
        let roles: &[Role] = match role {
            "server" => &[Role::Server],
            "client" => &[Role::Client],
            "both" => &[Role::Server, Role::Client],
            other => return Err(format!("{other:?} is no role")),
        };
        if self
            .cases
            .iter()
            .any(|case| case.name == name && roles.contains(&case.role))
        {
            return Err(format!("{} has two rows called {name:?}", self.file));
        }
        for &role in roles {
            self.cases.push(Case {
                place: place.to_owned(),
                name: name.to_owned(),
                stage: self.stage,
                role,
                settings: self.settings.clone(),
                steps: Reader::new(script, &self.names, role).steps()?,
                expected: expect::parse(right, &self.names)?,
            });
        }
        Ok(())
    }
}
