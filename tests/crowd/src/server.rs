//! The server under test as a process of its own: started, drained, killed and started again at the same address.
//! Never leaves one behind.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A folder with the configuration and what the server said, gone in the end unless something went wrong.
pub(crate) struct Ground {
    binary: PathBuf,
    folder: PathBuf,
    workers: usize,
}

/// A server that runs, or is about to end.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Ground {
    /// Writes the configuration.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn new(binary: &Path, workers: usize, config: &str) -> Result<Ground, String> {
        let name = format!("tidegate-crowd-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("tidegate.toml"), config))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Ground {
            binary: binary.to_owned(),
            folder,
            workers,
        })
    }

    /// Starts a server there, on a free port if none is given, and waits until it listens.
    ///
    /// # Errors
    /// What it said when it does not start.
    pub(crate) fn start(&self, at: Option<SocketAddr>) -> Result<Server, String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .map_err(|error| format!("{}: {error}", self.folder.display()))?;
        let listen = at.map_or("127.0.0.1:0".to_owned(), |at| at.to_string());
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--listen", &listen, "--config"])
            .arg(self.folder.join("tidegate.toml"))
            .args(["--workers", &self.workers.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let url = line.split("://").nth(1);
        let address = url.and_then(|rest| rest.trim_end().strip_suffix('/')?.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the server does not start:\n{}", self.said()))
            }
        }
    }

    /// What all servers here have said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Server {
    /// Asks it to drain, or ends it at once.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself; then its status says so.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Its status, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Processor time it has used so far, in seconds, and its resident memory in bytes; zeros where the system
    /// does not tell.
    pub(crate) fn usage(&self) -> (f64, u64) {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        let stat = read("stat").unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |n: usize| -> f64 { fields.get(n).and_then(|f| f.parse().ok()).unwrap_or(0.0) };
        let status = read("status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident =
            resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        ((ticks(11) + ticks(12)) / 100.0, resident.unwrap_or(0) << 10)
    }
}

impl Server {
    /// Processor time of all its threads, in seconds and to the nanosecond; 0 where the system does not tell.
    pub(crate) fn processor(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.into_iter().flatten().flatten();
        let spent = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        spent.sum::<f64>() / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
