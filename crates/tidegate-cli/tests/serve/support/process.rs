//! The binary as a process, stopped when its test ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The one line of stdout.
    pub(crate) line: String,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// What a process said and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What came on stdout after the first line.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Server {
    /// Starts `tidegate serve` on a free port of 127.0.0.1 and waits for its line.
    pub(crate) fn start(flags: &[&str]) -> Server {
        let mut child = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = drain(child.stderr.take().expect("it is piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout can be read");
        let address = line
            .trim_end()
            .strip_prefix("Tidegate is live: ")
            .and_then(|url| url.split("://").nth(1)?.strip_suffix('/')?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!(
                "no URL in {line:?}; stderr: {}",
                stderr.join().expect("stderr was read")
            );
        };
        let stdout = Some(drain(stdout));
        Server {
            child,
            address,
            line,
            stdout,
            stderr: Some(stderr),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("it runs");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it still runs after {patience:?}"
            );
            thread::sleep(Duration::from_millis(10));
        };
        let said = |pipe: &mut Option<JoinHandle<String>>| {
            pipe.take()
                .expect("taken once")
                .join()
                .expect("the pipe was read")
        };
        Ended {
            status,
            stdout: said(&mut self.stdout),
            stderr: said(&mut self.stderr),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `tidegate` with arguments that make it end at once.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    let output = command()
        .args(arguments)
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    Ended {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The binary, without settings from the environment of whoever runs the tests.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.read_to_string(&mut text);
        text
    })
}
