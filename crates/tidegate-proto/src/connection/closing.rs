//! The closing handshake as a state machine (RFC 6455 §7); it sends nothing itself.
//!
//! ```text
//!            we close                     peer's Close
//!   Open ───────────────► CloseSent ───────────────────► Ended (clean)
//!    │ peer's Close           │ time is up, transport ends
//!    ├──────────────► Ended   └───────────────────────────► Ended
//!    └ violation, silence, transport ends ─────────────────► Ended
//! ```
//! `Ended` means that the application has heard the last of this connection; the transport may stay half
//! open for a moment, so that the peer can read our Close.

use crate::close::{CloseCode, Closed, Side};
use crate::config::Timeouts;
use crate::time::Time;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// We sent Close and wait for the peer's until the deadline.
    CloseSent {
        code: CloseCode,
        deadline: Time,
    },
    /// Over. Once all is written the transport is half closed; at the deadline it is dropped.
    Ended {
        deadline: Time,
        /// The peer's Close was among what it sent: nothing follows it.
        peer_closed: bool,
    },
    /// Nothing can or need be sent: the transport is to be dropped now.
    Dead,
}

impl Phase {
    pub(super) fn close_sent(code: CloseCode, now: Time, timeouts: &Timeouts) -> Phase {
        Phase::CloseSent {
            code,
            deadline: now + timeouts.close,
        }
    }

    /// Over, with something left to write: it may take as long as a Close may.
    pub(super) fn ended(now: Time, timeouts: &Timeouts, peer_closed: bool) -> Phase {
        Phase::Ended {
            deadline: now + timeouts.close.max(timeouts.linger),
            peer_closed,
        }
    }

    /// All is written: from now on the peer has `linger` to read it.
    pub(super) fn flushed(&mut self, now: Time, timeouts: &Timeouts) {
        if let Phase::Ended { deadline, .. } = self {
            *deadline = (*deadline).min(now + timeouts.linger);
        }
    }

    /// How a connection in this phase closed when its transport ended; `None` when that was said before.
    pub(super) fn cut(self) -> Option<Closed> {
        let (code, by) = match self {
            Phase::Open => (None, Side::Transport),
            Phase::CloseSent { code, .. } => (Some(code), Side::Us),
            Phase::Ended { .. } | Phase::Dead => return None,
        };
        Some(Closed {
            code,
            reason: String::new(),
            by,
            clean: false,
            cause: None,
        })
    }

    /// The application may still send and receive.
    pub(super) fn is_open(self) -> bool {
        self == Phase::Open
    }

    /// The application has been told that it is over.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Phase::Ended { .. } | Phase::Dead)
    }

    pub(super) fn deadline(self) -> Option<Time> {
        match self {
            Phase::CloseSent { deadline, .. } | Phase::Ended { deadline, .. } => Some(deadline),
            Phase::Open | Phase::Dead => None,
        }
    }
}
