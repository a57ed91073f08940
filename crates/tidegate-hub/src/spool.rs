//! Mail that must arrive although the other worker's mailbox is full: it waits here, in order. A worker
//! never blocks on another.
//!
//! Only what is bounded by something else may wait here: departures (by subscriptions), answers (by
//! [`crate::HubLimits::worker_in_flight`] of the asking worker), and orders to recover (one for each
//! channel and worker, until a member subscribes again). Questions and publications never wait.

use crate::mail::{Mail, ShardMail, WorkerMail};
use std::collections::VecDeque;
use tidegate_proto::{MailboxFull, Outboxes, WorkerId};

/// Mail that waits, by receiving worker.
pub(crate) struct Spool {
    waiting: Vec<VecDeque<WorkerMail>>,
}

impl Spool {
    pub(crate) fn new(workers: usize) -> Spool {
        Spool {
            waiting: (0..workers).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Sends mail now, or not at all. Nothing overtakes what waits: then it is refused too.
    pub(crate) fn offer(
        &self,
        to: WorkerId,
        mail: WorkerMail,
        out: &mut Outboxes<'_, ShardMail>,
    ) -> Result<(), MailboxFull> {
        match self.waiting.get(usize::from(to.0)) {
            Some(waiting) if waiting.is_empty() => out.post(to, ShardMail(Mail::Worker(mail))),
            _ => Err(MailboxFull),
        }
    }

    /// Sends mail now or later, in order. True if it waits.
    pub(crate) fn send(
        &mut self,
        to: WorkerId,
        mail: WorkerMail,
        out: &mut Outboxes<'_, ShardMail>,
    ) -> bool {
        let Some(waiting) = self.waiting.get_mut(usize::from(to.0)) else {
            return false;
        };
        let posted =
            waiting.is_empty() && out.post(to, ShardMail(Mail::Worker(mail.clone()))).is_ok();
        if !posted {
            waiting.push_back(mail);
        }
        !posted
    }

    /// Tries again. True if some still waits.
    pub(crate) fn retry(&mut self, out: &mut Outboxes<'_, ShardMail>) -> bool {
        for (to, waiting) in self.waiting.iter_mut().enumerate() {
            let to = WorkerId(u16::try_from(to).unwrap_or(u16::MAX));
            while let Some(mail) = waiting.front() {
                if out.post(to, ShardMail(Mail::Worker(mail.clone()))).is_err() {
                    break;
                }
                waiting.pop_front();
            }
        }
        self.len() > 0
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }
}
