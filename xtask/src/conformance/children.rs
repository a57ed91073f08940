//! Programs that run beside each other, each with a log and all with a deadline; none outlives its owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sh::{self, Result};

/// A running program; what it prints goes to its log. Dropped, it is killed.
pub(super) struct Child {
    child: std::process::Child,
    log: PathBuf,
}

impl Child {
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let child = command
            // A pipe that stays open as long as we live, for those that end when it ends.
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("can't start {:?}: {error}", command.get_program()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// What it has printed so far.
    pub(super) fn said(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| error.to_string(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The port at the end of its first line, once that is printed.
    pub(super) fn port(&self) -> Option<u16> {
        let said = self.said();
        let line = said.split_once('\n')?.0;
        line.rsplit(':').next()?.parse().ok()
    }

    /// Waits for its end, whatever its exit status.
    pub(super) fn wait(&mut self, deadline: Instant) -> Result<()> {
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("not done in time; it said:\n{}", self.tail()).into());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Asks again and again until there is an answer; the program must go on meanwhile.
    pub(super) fn until<T>(&mut self, mut answer: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(answer) = answer(self) {
                return Ok(answer);
            }
            if self.child.try_wait()?.is_some() {
                return Err(format!("ended at once; it said:\n{}", self.tail()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("not ready in {START:?}; it said:\n{}", self.tail()).into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn tail(&self) -> String {
        sh::tail(&self.said(), 20)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PAUSE: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(30);
