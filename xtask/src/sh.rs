//! Running other programs: what they print is shown as it comes and kept. Never goes through a shell.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

/// What went wrong, in a sentence for the person at the terminal.
pub(crate) type Error = Box<dyn std::error::Error>;
/// The result of a job or a part of one.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A finished program.
pub(crate) struct Finished {
    /// Whether it exited with 0.
    pub(crate) ok: bool,
    /// Everything it printed, standard output and error as they came.
    pub(crate) output: String,
}

/// Runs a program, shows what it prints and keeps it.
pub(crate) fn show(command: &mut Command) -> Result<Finished> {
    run(command, true)
}

/// Runs a program and keeps what it prints.
pub(crate) fn quiet(command: &mut Command) -> Result<Finished> {
    run(command, false)
}

/// Runs a program in silence and gives what it wrote to its standard output; when it fails, all it wrote is the error.
pub(crate) fn must(command: &mut Command) -> Result<String> {
    // Apart, since cargo also tells of downloads while it prints what was asked for.
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't start `{}`: {error}", line(command)))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let all = said + &String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` failed:\n{}", line(command), tail(&all, 40)).into())
}

/// A finished program whose answer and remarks were kept apart.
pub(crate) struct Apart {
    /// What it wrote to its standard output.
    pub(crate) output: String,
    /// What it wrote to its standard error.
    pub(crate) remarks: String,
}

/// Runs a program in silence; its answer is read whatever it exits with.
pub(crate) fn apart(command: &mut Command) -> Result<Apart> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't start `{}`: {error}", line(command)))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Apart {
        output: text(output.stdout),
        remarks: text(output.stderr),
    })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A port of 127.0.0.1 that nothing listens on, for programs that can't choose one and say which.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Asks a process to end, as a terminal or a service manager would.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own `kill`: a bare Debian has no other program of that name.
    must(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")])).map(drop)
}

fn run(command: &mut Command, shown: bool) -> Result<Finished> {
    let (reader, writer) = std::io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .map_err(|error| format!("can't start `{}`: {error}", line(command)))?;
    // Our own copies of the pipe's end live in the command; without them the reader sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut output = String::new();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        if shown {
            let mut terminal = std::io::stdout().lock();
            terminal.write_all(text.as_bytes())?;
            terminal.flush()?;
        }
        output.push_str(&text);
        bytes.clear();
    }
    Ok(Finished {
        ok: child.wait()?.success(),
        output,
    })
}

fn line(command: &Command) -> String {
    let words: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    format!(
        "{} {}",
        command.get_program().to_string_lossy(),
        words.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::must;
    use std::process::Command;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn remarks_are_no_part_of_an_answer_but_of_an_error() {
        let answer = must(&mut shell("echo downloading >&2; echo {}")).expect("it succeeds");
        assert_eq!(answer, "{}\n");
        let error = must(&mut shell("echo half; echo why >&2; exit 3")).expect_err("it fails");
        let text = error.to_string();
        assert!(text.contains("half") && text.contains("why"), "{text}");
    }
}
