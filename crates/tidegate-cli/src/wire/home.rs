//! Where recordings and watchers of a secret meet. It keeps the octets and passes them on; it never sees the
//! sockets of either.

use super::secret::Secret;
use super::{Dismissal, MAX_BACKLOG, MAX_RECORDED, MESSAGE_HEAD, PATIENCE, SWEEP, WireMail};
use std::collections::HashMap;
use std::time::Duration;
use tidegate_proto::{Encoded, Outboxes, PeerId, Time};

/// What one worker is home to.
#[derive(Default)]
pub(super) struct Home {
    meetings: HashMap<Secret, Meeting>,
    /// A sweep is due already.
    sweeping: bool,
}

/// What belongs to one secret.
#[derive(Default)]
struct Meeting {
    recording: Option<Recording>,
    watchers: Vec<Watcher>,
}

/// A connection's octets from its first one on.
struct Recording {
    peer: PeerId,
    kept: Vec<Encoded>,
    octets: usize,
    /// More came than is kept; who comes now would miss some.
    overflowed: bool,
}

struct Watcher {
    peer: PeerId,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is shown what passes.
    Watching,
    /// Since then there is nothing to show it.
    Waiting(Time),
    /// It is to be closed, but its worker's mailbox was full.
    Owed(Dismissal),
    /// It was closed.
    Gone,
}

impl Home {
    /// A recording begins. One that had the same secret ends: its owner has connected anew.
    pub(super) fn begin(&mut self, secret: Secret, peer: PeerId, out: &mut Outboxes<'_, WireMail>) {
        let recorded = self
            .meetings
            .values()
            .filter(|m| m.recording.is_some())
            .count();
        let meeting = self.meetings.entry(secret).or_default();
        if recorded >= MAX_RECORDED && meeting.recording.is_none() {
            meeting.dismiss_all(Dismissal::Full, out);
        } else {
            meeting.recording = Some(Recording {
                peer,
                kept: Vec::new(),
                octets: 0,
                overflowed: false,
            });
            meeting.set_all(State::Watching);
        }
        self.tidy(out);
    }

    /// Octets passed.
    pub(super) fn chunk(
        &mut self,
        secret: &Secret,
        peer: PeerId,
        message: Encoded,
        out: &mut Outboxes<'_, WireMail>,
    ) {
        let Some(meeting) = self.meetings.get_mut(secret) else {
            return;
        };
        let Some(recording) = meeting.recording.as_mut().filter(|r| r.peer == peer) else {
            return;
        };
        recording.keep(&message);
        for watcher in &mut meeting.watchers {
            watcher.show(vec![message.clone()], out);
        }
        if meeting.watchers.iter().any(|w| w.state != State::Watching) {
            self.tidy(out);
        }
    }

    /// A recording is over. Who watches may wait for the next one, unless octets were lost.
    pub(super) fn end(
        &mut self,
        secret: &Secret,
        peer: PeerId,
        lost: bool,
        out: &mut Outboxes<'_, WireMail>,
    ) {
        let Some(meeting) = self.meetings.get_mut(secret) else {
            return;
        };
        if meeting.recording.take_if(|r| r.peer == peer).is_none() {
            return;
        }
        if lost {
            meeting.dismiss_all(Dismissal::Lost, out);
        } else {
            meeting.set_all(State::Waiting(out.now()));
        }
        self.tidy(out);
    }

    /// A watcher comes: it is shown what is kept, and from then on what passes.
    pub(super) fn attach(
        &mut self,
        secret: Secret,
        peer: PeerId,
        out: &mut Outboxes<'_, WireMail>,
    ) {
        let watched: usize = self.meetings.values().map(|m| m.watchers.len()).sum();
        let meeting = self.meetings.entry(secret).or_default();
        let mut watcher = Watcher {
            peer,
            state: State::Watching,
        };
        if watched >= MAX_RECORDED || meeting.watchers.len() >= MAX_WATCHERS {
            watcher.dismiss(Dismissal::Full, out);
        } else if let Some(recording) = &meeting.recording {
            watcher.show(recording.kept.clone(), out);
            if recording.overflowed {
                watcher.dismiss(Dismissal::TooLate, out);
            }
        } else {
            watcher.state = State::Waiting(out.now());
        }
        meeting.watchers.push(watcher);
        self.tidy(out);
    }

    /// A watcher is gone.
    pub(super) fn detach(
        &mut self,
        secret: &Secret,
        peer: PeerId,
        out: &mut Outboxes<'_, WireMail>,
    ) {
        if let Some(meeting) = self.meetings.get_mut(secret) {
            meeting.watchers.retain(|watcher| watcher.peer != peer);
            self.tidy(out);
        }
    }

    /// Sends away who has waited long enough, and who is owed a close.
    pub(super) fn sweep(&mut self, out: &mut Outboxes<'_, WireMail>) {
        self.sweeping = false;
        let now = out.now();
        for watcher in self.meetings.values_mut().flat_map(|m| &mut m.watchers) {
            match watcher.state {
                State::Waiting(since) if now.since(since) >= PATIENCE => {
                    watcher.dismiss(Dismissal::NothingRecorded, out);
                }
                State::Owed(why) => watcher.dismiss(why, out),
                _ => {}
            }
        }
        self.tidy(out);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.meetings.is_empty()
    }

    /// Forgets who was sent away and what is empty; sees to it that a sweep comes while one is needed.
    fn tidy(&mut self, out: &mut Outboxes<'_, WireMail>) {
        self.meetings.retain(|_, meeting| {
            meeting
                .watchers
                .retain(|watcher| watcher.state != State::Gone);
            meeting.recording.is_some() || !meeting.watchers.is_empty()
        });
        let mut watchers = self.meetings.values().flat_map(|m| &m.watchers);
        if !self.sweeping && watchers.any(|w| w.state != State::Watching) {
            self.sweeping = true;
            out.timer(SWEEP, out.now() + SWEEP_EVERY);
        }
    }
}

impl Meeting {
    fn dismiss_all(&mut self, why: Dismissal, out: &mut Outboxes<'_, WireMail>) {
        for watcher in &mut self.watchers {
            watcher.dismiss(why, out);
        }
    }

    /// For all that are not on their way out.
    fn set_all(&mut self, state: State) {
        for watcher in &mut self.watchers {
            if !matches!(watcher.state, State::Owed(_) | State::Gone) {
                watcher.state = state;
            }
        }
    }
}

impl Recording {
    fn keep(&mut self, message: &Encoded) {
        let octets = message.payload().len().saturating_sub(MESSAGE_HEAD);
        // Once something is left out, what follows would have a gap before it.
        self.overflowed |= self.octets + octets > MAX_BACKLOG;
        if !self.overflowed {
            self.octets += octets;
            self.kept.push(message.clone());
        }
    }
}

impl Watcher {
    fn show(&mut self, messages: Vec<Encoded>, out: &mut Outboxes<'_, WireMail>) {
        if self.state != State::Watching || messages.is_empty() {
            return;
        }
        let show = WireMail::Show {
            watcher: self.peer,
            messages,
        };
        if out.post(self.peer.worker(), show).is_err() {
            self.dismiss(Dismissal::Lost, out);
        }
    }

    fn dismiss(&mut self, why: Dismissal, out: &mut Outboxes<'_, WireMail>) {
        let dismiss = WireMail::Dismiss {
            watcher: self.peer,
            why,
        };
        self.state = match out.post(self.peer.worker(), dismiss) {
            Ok(()) => State::Gone,
            Err(_) => State::Owed(why),
        };
    }
}

/// Watchers of one secret: its owner, and once more while a page is loaded again.
const MAX_WATCHERS: usize = 4;

const SWEEP_EVERY: Duration = Duration::from_millis(500);
