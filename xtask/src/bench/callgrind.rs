//! Instructions counted by callgrind. What it takes to begin is the same in a short run and in a longer one, so it falls
//! out of their difference. It shows the program a processor of its own making, with AVX2 and without AVX-512.

use std::path::Path;
use std::process::Command;

use crate::sh::{self, Result};

/// The program under callgrind.
pub(crate) fn of(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program);
    command
}

/// Instructions of one operation. `command` does at least so many and prints how many.
pub(crate) fn each(operations: u64, command: impl Fn(u64) -> Command) -> Result<f64> {
    let some = count(&mut command(operations))?;
    let more = count(&mut command(3 * operations))?;
    let (instructions, operations) = (more.0 - some.0, more.1 - some.1);
    Ok(instructions as f64 / operations as f64)
}

/// Instructions and operations of one run.
fn count(command: &mut Command) -> Result<(u64, u64)> {
    // The log and the answer come on different streams; together they show what went wrong.
    let finished = sh::quiet(command)?;
    let number = |line: Option<&str>| line?.split_whitespace().last()?.parse().ok();
    let is_number = |line: &&str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    let mut lines = finished.output.lines();
    let instructions = number(lines.clone().find(|line| line.contains("Collected :")));
    let operations = number(lines.find(is_number));
    match (finished.ok, instructions, operations) {
        (true, Some(instructions), Some(operations)) => Ok((instructions, operations)),
        _ => Err(format!(
            "callgrind did not count:\n{}",
            sh::tail(&finished.output, 40)
        )
        .into()),
    }
}
