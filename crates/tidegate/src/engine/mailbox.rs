//! Mail between threads: one bounded mailbox per worker, its reader woken at most once a batch; never blocks a sender.

use mio::Waker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_proto::{MailboxFull, Post, WorkerId};

/// What other threads see of a worker: where its mail goes and how it is woken.
pub(crate) struct Mailbox<M> {
    queue: Mutex<Queue<M>>,
    /// Messages promised a place and not yet handed to the handler, here and in the senders' outgoing trays.
    promised: AtomicUsize,
    capacity: usize,
    state: AtomicU8,
    waker: Waker,
}

struct Queue<M> {
    mail: Vec<M>,
    closed: bool,
}

/// The worker sleeps, or is about to: whoever brings mail must wake it.
const ASLEEP: u8 = 0;
/// The worker runs and will look here before it sleeps.
const AWAKE: u8 = 1;
/// There is mail, and the worker has been told.
const MAIL: u8 = 2;

impl<M> Mailbox<M> {
    /// An empty mailbox for at most `capacity` messages.
    pub(crate) fn new(capacity: usize, waker: Waker) -> Mailbox<M> {
        Mailbox {
            queue: Mutex::new(Queue {
                mail: Vec::new(),
                closed: false,
            }),
            promised: AtomicUsize::new(0),
            capacity,
            state: AtomicU8::new(AWAKE),
            waker,
        }
    }

    /// Promises a place for one message.
    fn reserve(&self) -> Result<(), MailboxFull> {
        if self.promised.fetch_add(1, Ordering::Relaxed) < self.capacity {
            return Ok(());
        }
        self.promised.fetch_sub(1, Ordering::Relaxed);
        Err(MailboxFull)
    }

    /// Brings messages whose places were reserved. A closed mailbox drops them: its worker is gone.
    fn deliver(&self, mail: impl Iterator<Item = M>) {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            self.took(mail.count());
            return;
        }
        queue.mail.extend(mail);
        drop(queue);
        if self.state.swap(MAIL, Ordering::SeqCst) == ASLEEP {
            self.wake();
        }
    }

    /// Moves everything that has come into `into`, in order.
    pub(crate) fn take(&self, into: &mut VecDeque<M>) {
        if self.state.load(Ordering::SeqCst) == MAIL {
            // First the state, then the queue: what comes between the two is seen now or announced again.
            self.state.store(AWAKE, Ordering::SeqCst);
            into.extend(self.lock().mail.drain(..));
        }
    }

    /// Gives `n` places back: so many messages were handed to the handler.
    pub(crate) fn took(&self, n: usize) {
        self.promised.fetch_sub(n, Ordering::Relaxed);
    }

    /// Called by the worker before it sleeps. False: there is mail, do not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Called by the worker once it runs again.
    pub(crate) fn woken(&self) {
        let _ = self
            .state
            .compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Ends a sleep of the worker for a reason other than mail.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            // The worker still looks here at its next timer; nothing else can be done from this thread.
            tracing::warn!(%error, "a worker could not be woken");
        }
    }

    /// The worker is gone: drops what waits and whatever comes later.
    pub(crate) fn close(&self) {
        let mail = {
            let mut queue = self.lock();
            queue.closed = true;
            std::mem::take(&mut queue.mail)
        };
        self.took(mail.len()); // dropped outside the lock: a message's Drop may do anything
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        // No code of ours panics under the lock; were it to, the queue would still be a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Posts mail to workers from any thread, say from the control plane. Cloning is a reference count.
pub struct Mailer<M> {
    boxes: Arc<[Mailbox<M>]>,
}

impl<M> Mailer<M> {
    pub(crate) fn new(boxes: Arc<[Mailbox<M>]>) -> Mailer<M> {
        Mailer { boxes }
    }

    /// How many workers there are; their ids are 0 to this less one.
    pub fn workers(&self) -> usize {
        self.boxes.len()
    }

    /// Queues `mail` for a worker and wakes it if it sleeps. Mail from one thread to one worker arrives in
    /// order. Mail to a worker that has ended is dropped.
    ///
    /// # Errors
    /// [`MailboxFull`] when the worker has as many messages waiting as its mailbox holds, or when there is
    /// no such worker. The mail is dropped; try again later, or tell whoever asked.
    pub fn post(&self, worker: WorkerId, mail: M) -> Result<(), MailboxFull> {
        let mailbox = self.boxes.get(usize::from(worker.0)).ok_or(MailboxFull)?;
        mailbox.reserve()?;
        mailbox.deliver(std::iter::once(mail));
        Ok(())
    }
}

impl<M> Clone for Mailer<M> {
    fn clone(&self) -> Mailer<M> {
        Mailer {
            boxes: Arc::clone(&self.boxes),
        }
    }
}

impl<M> std::fmt::Debug for Mailer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

/// A worker's own side of the mail: what it has got and what it sends.
pub(crate) struct PostOffice<M> {
    me: WorkerId,
    boxes: Arc<[Mailbox<M>]>,
    /// Received and not yet handed to the handler.
    inbox: VecDeque<M>,
    /// One tray per worker, carried off once a batch.
    outgoing: Vec<Vec<M>>,
}

impl<M> PostOffice<M> {
    pub(crate) fn new(me: WorkerId, boxes: Arc<[Mailbox<M>]>) -> PostOffice<M> {
        let outgoing = boxes.iter().map(|_| Vec::new()).collect();
        PostOffice {
            me,
            boxes,
            inbox: VecDeque::new(),
            outgoing,
        }
    }

    /// This worker's mailbox.
    pub(crate) fn mailbox(&self) -> &Mailbox<M> {
        &self.boxes[usize::from(self.me.0)]
    }

    /// Fetches what others have brought.
    pub(crate) fn fetch(&mut self) {
        let mailbox = &self.boxes[usize::from(self.me.0)];
        mailbox.take(&mut self.inbox);
    }

    /// The next message for the handler.
    pub(crate) fn next(&mut self) -> Option<M> {
        let mail = self.inbox.pop_front()?;
        self.mailbox().took(1);
        Some(mail)
    }

    /// Whether messages wait for the handler.
    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Carries off what was posted since the last call: one lock and at most one wake-up a worker.
    pub(crate) fn carry(&mut self) {
        for (mailbox, tray) in self.boxes.iter().zip(&mut self.outgoing) {
            if !tray.is_empty() {
                mailbox.deliver(tray.drain(..));
            }
        }
    }
}

impl<M> Post<M> for PostOffice<M> {
    fn post(&mut self, worker: WorkerId, mail: M) -> Result<(), MailboxFull> {
        let index = usize::from(worker.0);
        self.boxes.get(index).ok_or(MailboxFull)?.reserve()?;
        if worker == self.me {
            self.inbox.push_back(mail);
        } else {
            self.outgoing[index].push(mail);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    /// Mailboxes whose wake-ups go to polls that nobody waits on.
    fn boxes(workers: usize, capacity: usize) -> (Vec<Poll>, Arc<[Mailbox<u32>]>) {
        let polls: Vec<Poll> = (0..workers).map(|_| Poll::new().expect("a poll")).collect();
        let boxes = polls
            .iter()
            .map(|poll| Waker::new(poll.registry(), Token(0)).expect("a waker"))
            .map(|waker| Mailbox::new(capacity, waker))
            .collect();
        (polls, boxes)
    }

    fn drain(office: &mut PostOffice<u32>) -> Vec<u32> {
        office.fetch();
        std::iter::from_fn(|| office.next()).collect()
    }

    #[test]
    fn mail_between_two_workers_arrives_in_order_once_it_is_carried() {
        let (_polls, boxes) = boxes(2, 100);
        let mut zero = PostOffice::new(WorkerId(0), Arc::clone(&boxes));
        let mut one = PostOffice::new(WorkerId(1), boxes);
        for n in 0..10 {
            zero.post(WorkerId(1), n).expect("there is room");
        }
        assert_eq!(drain(&mut one), []);
        zero.carry();
        assert_eq!(drain(&mut one), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn mail_to_oneself_needs_no_carrying() {
        let (_polls, boxes) = boxes(1, 100);
        let mut office = PostOffice::new(WorkerId(0), boxes);
        office.post(WorkerId(0), 7).expect("there is room");
        assert!(office.has_mail());
        assert_eq!(drain(&mut office), [7]);
    }

    #[test]
    fn a_full_mailbox_refuses_until_mail_is_taken() {
        let (_polls, boxes) = boxes(2, 2);
        let mut zero = PostOffice::new(WorkerId(0), Arc::clone(&boxes));
        let mut one = PostOffice::new(WorkerId(1), Arc::clone(&boxes));
        let mailer = Mailer::new(boxes);
        assert!(zero.post(WorkerId(1), 1).is_ok());
        assert!(mailer.post(WorkerId(1), 2).is_ok());
        assert!(
            zero.post(WorkerId(1), 3).is_err(),
            "one is queued, one in a tray: full"
        );
        assert!(mailer.post(WorkerId(1), 3).is_err());
        assert!(one.post(WorkerId(1), 3).is_err(), "its own mail counts too");
        zero.carry();
        assert_eq!(drain(&mut one), [2, 1]);
        assert!(mailer.post(WorkerId(1), 4).is_ok());
        assert_eq!(drain(&mut one), [4]);
    }

    #[test]
    fn a_worker_that_does_not_exist_takes_no_mail() {
        let (_polls, boxes) = boxes(1, 2);
        assert!(Mailer::new(boxes).post(WorkerId(1), 1).is_err());
    }

    #[test]
    fn a_worker_with_mail_does_not_go_to_sleep() {
        let (_polls, boxes) = boxes(1, 100);
        let mailer = Mailer::new(Arc::clone(&boxes));
        let mut office = PostOffice::new(WorkerId(0), boxes);
        assert!(office.mailbox().may_sleep());
        office.mailbox().woken();
        mailer.post(WorkerId(0), 1).expect("there is room");
        assert!(!office.mailbox().may_sleep());
        assert_eq!(drain(&mut office), [1]);
        assert!(office.mailbox().may_sleep());
    }

    #[test]
    fn only_the_first_message_wakes_a_sleeper() {
        let (mut polls, boxes) = boxes(1, 100);
        let mailer = Mailer::new(Arc::clone(&boxes));
        let mut wakes = || {
            let mut events = mio::Events::with_capacity(8);
            polls[0]
                .poll(&mut events, Some(std::time::Duration::ZERO))
                .expect("a poll");
            events.iter().count()
        };
        mailer.post(WorkerId(0), 1).expect("there is room");
        assert_eq!(wakes(), 0, "the worker is awake");
        let mut office = PostOffice::new(WorkerId(0), boxes);
        assert_eq!(drain(&mut office), [1]);
        assert!(office.mailbox().may_sleep());
        mailer.post(WorkerId(0), 2).expect("there is room");
        assert_eq!(wakes(), 1);
        mailer.post(WorkerId(0), 3).expect("there is room");
        assert_eq!(wakes(), 0, "it has been told");
        office.mailbox().woken();
        assert_eq!(drain(&mut office), [2, 3]);
    }

    #[test]
    fn mail_to_a_worker_that_ended_is_dropped_and_fills_nothing() {
        let (_polls, boxes) = boxes(1, 2);
        let mailer = Mailer::new(Arc::clone(&boxes));
        mailer.post(WorkerId(0), 1).expect("there is room");
        boxes[0].close();
        for n in 0..10 {
            assert!(mailer.post(WorkerId(0), n).is_ok());
        }
        assert_eq!(boxes[0].promised.load(Ordering::Relaxed), 0);
    }
}
