//! The observer: a page sees the octets of its own connection as they pass. Development mode only.
//!
//! ```text
//!   /connection/websocket?wire=SECRET          /wire?key=SECRET
//!        recorder ──Begin, Chunk, End──► home ──Show, Dismiss──► watcher
//!      (its worker)               (hash of the secret)         (its worker)
//! ```
//!
//! It shows a connection only to who knows the secret that the connection itself brought along, and never
//! changes what passes. Bounds: [`MAX_RECORDED`] recorded connections and as many watchers for each worker,
//! [`MAX_BACKLOG`] kept octets for each recording, the usual outbox for each watcher. Octets that could not
//! be carried are never left out silently: the watcher is closed.

mod home;
mod secret;

pub(crate) use secret::Secret;

use home::Home;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{
    CloseCode, Config, Direction, Encoded, Limits, Outboxes, PeerId, Time, TimerId, Wire as Octets,
    WorkerId,
};

/// Recorded connections for each worker; one more is served, but not recorded. Watchers too: one more is
/// answered 503.
pub(crate) const MAX_RECORDED: usize = 64;

/// Octets kept of one connection, from its head on, for a watcher that comes late. One that is there in
/// time is shown everything.
pub(crate) const MAX_BACKLOG: usize = 256 << 10;

/// How long a watcher waits for a connection to show.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a recording outlives its connection, for the octets that are still on their way out: twice what
/// a connection lingers.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the parts of the observer tell each other.
#[derive(Clone, Debug)]
pub(crate) enum WireMail {
    /// To the home: `peer` is recorded from now on.
    Begin { secret: Secret, peer: PeerId },
    /// To the home: `peer` received or sent octets; the message is ready to be shown.
    Chunk {
        secret: Secret,
        peer: PeerId,
        message: Encoded,
    },
    /// To the home: `peer` is gone, or octets of it were lost.
    End {
        secret: Secret,
        peer: PeerId,
        lost: bool,
    },
    /// To the home: `watcher` wants to see what is recorded under the secret.
    Attach { secret: Secret, watcher: PeerId },
    /// To the home: `watcher` is gone.
    Detach { secret: Secret, watcher: PeerId },
    /// To a watcher's worker.
    Show {
        watcher: PeerId,
        messages: Vec<Encoded>,
    },
    /// To a watcher's worker: it is closed, and told why.
    Dismiss { watcher: PeerId, why: Dismissal },
}

/// Why a watcher is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// No connection brought this secret along.
    NothingRecorded,
    /// It came after the kept octets had reached their limit.
    TooLate,
    /// Some octets could not be carried.
    Lost,
    /// Too many watch the same connection, or too much is recorded already.
    Full,
}

impl Dismissal {
    fn code(self) -> u16 {
        match self {
            Dismissal::NothingRecorded => 4404,
            Dismissal::TooLate => 4413,
            Dismissal::Lost | Dismissal::Full => CloseCode::TRY_AGAIN.get(),
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Dismissal::NothingRecorded => "no connection is recorded under this key",
            Dismissal::TooLate => "only the first 256 KiB were kept; connect both again",
            Dismissal::Lost => "octets were lost; connect both again",
            Dismissal::Full => "the observer is full; try again later",
        }
    }
}

/// The observer's part on one worker: records its own peers, keeps what it is home to, serves its watchers.
pub(crate) struct Observer {
    recorded: HashMap<PeerId, Secret>,
    /// Recorded connections that are closed, and when their recording ends; the earliest first.
    ending: VecDeque<(Time, PeerId)>,
    watchers: HashMap<PeerId, Secret>,
    home: Home,
    /// What a home has to hear, but its mailbox was full. Bounded: one for each recording or watcher that a
    /// home has taken in, and it takes in none while its mailbox is full.
    untold: Vec<(WorkerId, WireMail)>,
    config: Arc<Config>,
}

impl Observer {
    /// Nothing recorded, nobody watching.
    pub(crate) fn new() -> Observer {
        let limits = Limits {
            max_message_size: 1 << 10,
            ..Limits::default()
        };
        Observer {
            recorded: HashMap::new(),
            ending: VecDeque::new(),
            watchers: HashMap::new(),
            home: Home::default(),
            untold: Vec::new(),
            config: Arc::new(Config {
                limits,
                ..Config::default()
            }),
        }
    }

    /// Starts to record `peer`; `false` when there is no room, and it should be accepted unobserved.
    pub(crate) fn record(
        &mut self,
        peer: PeerId,
        secret: Secret,
        out: &mut Outboxes<'_, WireMail>,
    ) -> bool {
        if self.recorded.len() >= MAX_RECORDED {
            return false;
        }
        let begin = WireMail::Begin {
            secret: secret.clone(),
            peer,
        };
        if out.post(secret.home(out.workers()), begin).is_err() {
            return false;
        }
        self.recorded.insert(peer, secret);
        true
    }

    /// Takes down octets of a recorded peer.
    pub(crate) fn observed(
        &mut self,
        peer: PeerId,
        octets: Octets<'_>,
        out: &mut Outboxes<'_, WireMail>,
    ) {
        let Some(secret) = self.recorded.get(&peer).cloned() else {
            return;
        };
        let message = message(octets, out.now().as_micros());
        let chunk = WireMail::Chunk {
            secret: secret.clone(),
            peer,
            message,
        };
        if out.post(secret.home(out.workers()), chunk).is_err() {
            self.recorded.remove(&peer);
            self.tell(
                secret.home(out.workers()),
                WireMail::End {
                    secret,
                    peer,
                    lost: true,
                },
                out,
            );
        }
    }

    /// Room for a watcher? Its limits if so.
    pub(crate) fn admit(&mut self, watcher: PeerId, secret: Secret) -> Option<Arc<Config>> {
        if self.watchers.len() >= MAX_RECORDED {
            return None;
        }
        self.watchers.insert(watcher, secret);
        Some(self.config.clone())
    }

    /// The watcher's handshake is done: it can be shown things.
    pub(crate) fn attach(&mut self, watcher: PeerId, out: &mut Outboxes<'_, WireMail>) {
        let Some(secret) = self.watchers.get(&watcher).cloned() else {
            return;
        };
        let home = secret.home(out.workers());
        if out
            .post(home, WireMail::Attach { secret, watcher })
            .is_err()
        {
            self.watchers.remove(&watcher);
            dismiss(watcher, Dismissal::Full, out);
        }
    }

    /// A recorded connection or a watcher is closed. What was queued for it before, and our Close, may
    /// still be on its way out: the recording ends a little later.
    pub(crate) fn closed(&mut self, peer: PeerId, out: &mut Outboxes<'_, WireMail>) {
        if self.recorded.contains_key(&peer) {
            let end = out.now() + FAREWELL;
            self.ending.push_back((end, peer));
            out.timer(END, end);
        }
        if let Some(secret) = self.watchers.remove(&peer) {
            self.tell(
                secret.home(out.workers()),
                WireMail::Detach {
                    secret,
                    watcher: peer,
                },
                out,
            );
        }
    }

    /// Mail of the observer.
    pub(crate) fn mail(&mut self, mail: WireMail, out: &mut Outboxes<'_, WireMail>) {
        match mail {
            WireMail::Begin { secret, peer } => self.home.begin(secret, peer, out),
            WireMail::Chunk {
                secret,
                peer,
                message,
            } => self.home.chunk(&secret, peer, message, out),
            WireMail::End { secret, peer, lost } => self.home.end(&secret, peer, lost, out),
            WireMail::Attach { secret, watcher } => self.home.attach(secret, watcher, out),
            WireMail::Detach { secret, watcher } => self.home.detach(&secret, watcher, out),
            WireMail::Show { watcher, messages } => {
                for message in &messages {
                    out.send(watcher, message);
                }
            }
            WireMail::Dismiss { watcher, why } => dismiss(watcher, why, out),
        }
    }

    /// A timer of the observer.
    pub(crate) fn timeout(&mut self, timer: TimerId, out: &mut Outboxes<'_, WireMail>) {
        match timer {
            SWEEP => self.home.sweep(out),
            END => self.end_recordings(out),
            RETRY => {
                for (home, mail) in std::mem::take(&mut self.untold) {
                    self.tell(home, mail, out);
                }
            }
            _ => {}
        }
    }

    /// Nothing is recorded, kept, watched or owed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.recorded.is_empty()
            && self.ending.is_empty()
            && self.watchers.is_empty()
            && self.untold.is_empty()
            && self.home.is_empty()
    }

    fn end_recordings(&mut self, out: &mut Outboxes<'_, WireMail>) {
        let now = out.now();
        while let Some((_, peer)) = self.ending.front().copied().filter(|(end, _)| *end <= now) {
            self.ending.pop_front();
            if let Some(secret) = self.recorded.remove(&peer) {
                self.tell(
                    secret.home(out.workers()),
                    WireMail::End {
                        secret,
                        peer,
                        lost: false,
                    },
                    out,
                );
            }
        }
    }

    /// Tells a home what it must hear, now or later.
    fn tell(&mut self, home: WorkerId, mail: WireMail, out: &mut Outboxes<'_, WireMail>) {
        let copy = mail.clone();
        if out.post(home, mail).is_err() {
            self.untold.push((home, copy));
            out.timer(RETRY, out.now() + Duration::from_millis(100));
        }
    }
}

fn dismiss(watcher: PeerId, why: Dismissal, out: &mut Outboxes<'_, WireMail>) {
    let code = CloseCode::new(why.code()).unwrap_or(CloseCode::POLICY);
    out.close(watcher, code, why.reason());
}

/// What a watcher is sent: direction, microseconds, octets.
fn message(octets: Octets<'_>, micros: u64) -> Encoded {
    let direction = match octets.direction {
        Direction::Received => 0,
        Direction::Sent => 1,
    };
    let mut message = Vec::with_capacity(MESSAGE_HEAD + octets.bytes.len());
    message.push(direction);
    message.extend_from_slice(&micros.to_be_bytes());
    message.extend_from_slice(octets.bytes);
    Encoded::binary(&message)
}

/// Direction and time before the octets.
const MESSAGE_HEAD: usize = 9;

/// Timers of the observer; the top byte keeps them apart from the hub's.
const SWEEP: TimerId = TimerId((b'W' as u64) << 56);
const END: TimerId = TimerId((b'W' as u64) << 56 | 2);
const RETRY: TimerId = TimerId((b'W' as u64) << 56 | 1);

#[cfg(test)]
mod tests;
