//! How a command fails: one line for people and an exit code for scripts; never a backtrace.

use std::fmt;

/// Why a command ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) exit: Exit,
    /// One line that says what was wrong and what to do about it.
    pub(crate) line: String,
}

/// Exit codes of the binary; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: it did not work, say a certificate that cannot be read.
    Failed = 1,
    /// 2: the command line asks for something that cannot be.
    Usage = 2,
    /// 3: no connection came about.
    NotConnected = 3,
    /// 4: the server broke the protocol.
    Protocol = 4,
    /// 5: another program listens on that port.
    PortTaken = 5,
    /// 124: it took longer than it was given.
    Timeout = 124,
    /// 130: Ctrl-C.
    Interrupted = 130,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn failed(line: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Failed,
            line: line.into(),
        }
    }

    /// A failure with exit code 2.
    pub(crate) fn usage(line: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Usage,
            line: line.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tidegate: {}", self.line)
    }
}
