//! A running `tidegate serve` for a test: started on a free port, found by the URL it prints, stopped by its own
//! process id. Never leaves a process behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sh::{self, Result};
use crate::tree;

/// Builds the binary and says where it is. A development build is that of the tests (see [`build_dev`]).
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    if !release {
        build_dev()?;
        return Ok(tree::target().join("debug/tidegate"));
    }
    cargo_build(&["-p", "tidegate-cli", "--release"])?;
    Ok(tree::target().join("release/tidegate"))
}

/// Builds all programs and examples at once. Asked for in this way every crate has the features that it has in
/// the tests, so that after them nothing is left to compile; one package alone would be compiled anew.
pub(crate) fn build_dev() -> Result<()> {
    cargo_build(&["--workspace", "--bins", "--examples"])
}

fn cargo_build(words: &[&str]) -> Result<()> {
    let mut build = Command::new(tree::cargo());
    build.args(["build", "--quiet"]).args(words);
    match sh::show(build.current_dir(tree::root()))?.ok {
        true => Ok(()),
        false => Err(format!("`cargo build {}` failed", words.join(" ")).into()),
    }
}

/// The server under test.
pub(crate) struct Server {
    child: Child,
    port: u16,
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `serve` with these flags on a free port of 127.0.0.1 and waits for its URL.
    pub(crate) fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--log", "warn,tidegate::serve=info"]) // info: where the admin listener is
            .args(flags)
            .env("TIDEGATE_API__KEYS", format!("[\"{API_KEY}\"]"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start {}: {error}", binary.display()))?;
        let said = Arc::new(Mutex::new(String::new()));
        let (found, port) = channel();
        let pipes: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout is piped")),
            Box::new(child.stderr.take().expect("stderr is piped")),
        ];
        for pipe in pipes {
            let (said, found) = (Arc::clone(&said), found.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(pipe)
                    .lines()
                    .map_while(std::result::Result::ok)
                {
                    if let Some(port) = port_in(&line) {
                        let _ = found.send(port);
                    }
                    let mut said = said.lock().expect("no reader panics");
                    said.push_str(&line);
                    said.push('\n');
                }
            });
        }
        drop(found);
        let mut server = Self {
            child,
            port: 0,
            said,
        };
        server.port = server.await_port(&port)?;
        Ok(server)
    }

    fn await_port(&mut self, port: &Receiver<u16>) -> Result<u16> {
        port.recv_timeout(START).map_err(|_| {
            format!("`tidegate serve` printed no URL; it said:\n{}", self.said()).into()
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its admin listener is. It says so before its URL, but on the other pipe.
    pub(crate) fn admin(&self) -> Result<String> {
        let start = Instant::now();
        loop {
            let said = self.said();
            let line = said.lines().find(|line| line.contains("admin listener"));
            if let Some(rest) = line.and_then(|line| line.split("127.0.0.1:").nth(1)) {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                return Ok(format!("http://127.0.0.1:{port}"));
            }
            if start.elapsed() > START {
                return Err(format!("it did not say where its admin listener is:\n{said}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything it has printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no reader panics").clone()
    }

    /// Stops it with SIGTERM. It must still be running, and end by itself with 0 and without a panic.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!(
                "`tidegate serve` ended by itself ({status}); it said:\n{}",
                self.said()
            )
            .into());
        }
        sh::signal(self.pid(), "TERM")?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > STOP {
                return Err(format!(
                    "`tidegate serve` did not end within {STOP:?} of SIGTERM; it said:\n{}",
                    self.said()
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = self.said();
        if !status.success() || said.contains("panicked at") {
            return Err(
                format!("`tidegate serve` ended badly ({status}); it said:\n{said}").into(),
            );
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in a line that has a URL of 127.0.0.1.
pub(crate) fn port_in(line: &str) -> Option<u16> {
    let (scheme, rest) = line.split_once("://127.0.0.1:")?;
    if !scheme.ends_with("http") && !scheme.ends_with("https") {
        return None;
    }
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|port| *port != 0)
}

/// Opens the HTTP API of the servers under test.
pub(crate) const API_KEY: &str = "interop";
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::port_in;

    #[test]
    fn the_port_is_read_from_the_line_with_the_url() {
        assert_eq!(
            port_in("tidegate: open http://127.0.0.1:40123/ in a browser"),
            Some(40123)
        );
        assert_eq!(port_in("https://127.0.0.1:8000"), Some(8000));
        assert_eq!(port_in("dev mode: no tokens are checked"), None);
        assert_eq!(port_in("http://127.0.0.1:0/"), None);
    }
}
