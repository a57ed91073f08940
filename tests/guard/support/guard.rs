//! The binary as a process, stopped when its test ends.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

pub(crate) struct Guard {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Said>,
    policy: Option<Scratch>,
}

#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
}

impl Guard {
    /// `tidegate guard` before this upstream, without a policy.
    pub(crate) fn before(upstream: &str) -> Guard {
        Guard::start(upstream, None, &[])
    }

    /// With a policy.
    pub(crate) fn with_policy(upstream: &str, policy: &str) -> Guard {
        Guard::start(upstream, Some(policy), &[])
    }

    pub(crate) fn start(upstream: &str, policy: Option<&str>, flags: &[&str]) -> Guard {
        let policy = policy.map(|text| Scratch::new("policy.toml", text));
        let mut command = command();
        command.args(["guard", "--upstream", upstream, "--log-format", "text"]);
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if let Some(policy) = &policy {
            command.args(["--policy", policy.path()]);
        }
        let mut child = command
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Said::default());
        listen(child.stderr.take().expect("it is piped"), Arc::clone(&said));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout can be read");
        let address = line
            .trim_end()
            .strip_prefix("Tidegate is on guard: ")
            .and_then(|url| url.split("://").nth(1)?.strip_suffix('/')?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "no URL in {line:?}; stderr: {}",
                said.text.lock().expect("no panic")
            );
        };
        Guard {
            child,
            address,
            said,
            policy,
        }
    }

    /// Waits for a line on stderr with all of these words, and gives it.
    pub(crate) fn said(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut text = self.said.text.lock().expect("no panic");
        loop {
            let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
            if let Some(line) = text.lines().find(has_all) {
                return line.to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{words:?} was not said in:\n{text}");
            text = self.said.more.wait_timeout(text, left).expect("no panic").0;
        }
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        self.said.text.lock().expect("no panic").clone()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.said(&["admin listener", "address="]);
        let address = line.split("address=").nth(1).expect("an address");
        let address = address.split_whitespace().next().expect("an address");
        address.parse().expect("an address")
    }

    /// Writes the policy anew and asks the guard to read it.
    pub(crate) fn reload(&self, policy: &str) {
        std::fs::write(self.policy.as_ref().expect("it has one").path(), policy).expect("a file");
        self.signal(rustix::process::Signal::HUP);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Its memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.expect("a number")
    }

    /// Processor time used so far, in hundredths of a second.
    pub(crate) fn ticks(&self) -> u64 {
        let file = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(file).expect("it runs");
        let after = stat.rsplit_once(") ").expect("a name").1;
        let used = after.split(' ').skip(11).take(2);
        used.map(|field| field.parse::<u64>().expect("a number"))
            .sum()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "it still runs");
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the guard said:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `tidegate guard` says to flags that make it end at once: exit code, stdout, stderr.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = command().arg("guard").args(arguments).output();
    let output = output.expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    let code = output.status.code().expect("no signal");
    (code, text(output.stdout), text(output.stderr))
}

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

fn listen(pipe: impl Read + Send + 'static, said: Arc<Said>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let mut text = said.text.lock().expect("no panic");
            text.push_str(&String::from_utf8_lossy(&line));
            said.more.notify_all();
            line.clear();
        }
    });
}

/// A file that is gone after the test.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str, content: &str) -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("tidegate-guard-{}-{n}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, content).expect("a file");
        Scratch(path)
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
