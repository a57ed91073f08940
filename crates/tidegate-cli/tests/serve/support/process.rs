//! The binary as a process, stopped when its test ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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
    said: Arc<Said>,
}

/// What has come on stderr so far.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
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
        Server::start_with(flags, &[])
    }

    /// The same with these variables.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut child = command()
            .envs(variables.iter().copied())
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Said::default());
        let stderr = listen(child.stderr.take().expect("it is piped"), Arc::clone(&said));
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
            said,
        }
    }

    /// Waits for a line on stderr with all of these words, and gives it.
    pub(crate) fn said(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + super::PATIENCE;
        let mut text = self
            .said
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = text
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            if let Some(line) = found {
                return line.to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{words:?} was not said in:\n{text}");
            let waited = self.said.more.wait_timeout(text, left);
            text = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Where the admin listener listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.said(&["admin listener", "address="]);
        let address = line
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line}"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("it runs");
    }

    /// Its memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.expect("a number")
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

/// A server as it would run in production: a configuration file and no development mode.
pub(crate) fn configured(config: &Scratch) -> Server {
    Server::start(&["--config", config.path(), "--workers", "2"])
}

/// A file that is gone after the test.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    /// A file with this content; `name` is part of its name.
    pub(crate) fn new(name: &str, content: &str) -> Scratch {
        let file = format!("tidegate-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, content).expect("a file");
        Scratch(path)
    }

    /// Writes it anew.
    pub(crate) fn write(&self, content: &str) {
        std::fs::write(&self.0, content).expect("a file");
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs `tidegate` with arguments that make it end at once.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[])
}

/// The same with these variables.
pub(crate) fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let output = command()
        .args(arguments)
        .envs(variables.iter().copied())
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

/// Reads line by line, so that what was said can be awaited.
fn listen(pipe: impl Read + Send + 'static, said: Arc<Said>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let mut text = said.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            said.more.notify_all();
            line.clear();
        }
        said.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    })
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.read_to_string(&mut text);
        text
    })
}
