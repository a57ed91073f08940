//! `tidegate guard audit`: what can be asked of an audit file. It changes no file.

use crate::error::{Exit, Failure};
use clap::Subcommand;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use tidegate_guard::audit;

/// What `tidegate guard` can do beside guarding.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Aside {
    /// Look into an audit file
    #[command(subcommand)]
    Audit(Asked),
}

/// What is asked of an audit file.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Asked {
    /// Check that no line was changed, taken out or moved; names the first one that was (exit 1)
    Verify {
        /// The file
        file: PathBuf,
        /// The hash of the last line, kept elsewhere: then lines cut off at the end are found, too
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

impl Aside {
    /// Does it.
    ///
    /// # Errors
    /// The file is no unbroken chain, or cannot be read.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Aside::Audit(Asked::Verify { file, head }) = self;
        verify(file, head.as_deref())
    }
}

fn verify(path: &Path, head: Option<&str>) -> Result<(), Failure> {
    let shown = path.display();
    let cannot = |error: io::Error| Failure {
        exit: Exit::Usage,
        line: format!("{shown}: it cannot be read: {error}"),
    };
    let file = BufReader::new(File::open(path).map_err(cannot)?);
    let mut trouble = None;
    let lines = file
        .lines()
        .map_while(|line| line.map_err(|error| trouble = Some(error)).ok());
    let lines: Vec<String> = lines.collect();
    if let Some(error) = trouble {
        return Err(cannot(error));
    }
    let summary = audit::verify(lines.iter().map(String::as_str))
        .map_err(|broken| Failure::failed(format!("{shown}: {broken}")))?;
    if summary.lines == 0 {
        let line =
            format!("{shown}: it is empty; a guard's log has a first line, so all of it is gone");
        return Err(Failure::failed(line));
    }
    let found: String = summary
        .head
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    if head.is_some_and(|head| !head.eq_ignore_ascii_case(&found)) {
        let line = format!(
            "{shown}: it ends with another line than --head: lines were cut off, or it has grown"
        );
        return Err(Failure::failed(line));
    }
    let lost = match summary.lost {
        0 => String::new(),
        lost => format!(", {lost} events lost before they could be written"),
    };
    // Whoever closed stdout does not want the line.
    let _ = writeln!(
        io::stdout().lock(),
        "{shown}: {} lines, unbroken{lost}; head {found}",
        summary.lines
    );
    Ok(())
}
