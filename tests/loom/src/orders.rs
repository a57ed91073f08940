//! Small models: a connection that is a few counters, and a transport that wakes whoever asked it last, as a socket does.

use crate::shared::{Progress, Shared};
use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What arrives from outside, and the one waker that is told.
#[derive(Default)]
struct Transport {
    arrived: u32,
    room: u32,
    waker: Option<Waker>,
}

/// Unread messages beyond which no more are read.
const FULL: u32 = 1;

/// What the halves share: what was read for `recv`, the pongs seen, and the transport behind it.
struct Model {
    inbox: u32,
    pongs: u32,
    queued: u32,
    transport: Arc<Mutex<Transport>>,
}

impl Progress for Model {
    type State = (u32, u32, u32);

    fn progress(&self) -> Self::State {
        (self.inbox, self.pongs, self.queued)
    }
}

impl Model {
    /// As `Core::drive`: reads and writes what can be, and asks to be told of more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let mut transport = self.transport.lock().unwrap();
        while transport.arrived > 0 && self.inbox < FULL {
            transport.arrived -= 1;
            // Each read brings a message and a pong.
            self.inbox += 1;
            self.pongs += 1;
        }
        while self.queued > 0 && transport.room > 0 {
            transport.room -= 1;
            self.queued -= 1;
        }
        transport.waker = Some(cx.waker().clone());
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx);
        if self.inbox == 0 {
            return Poll::Pending;
        }
        self.inbox -= 1;
        Poll::Ready(())
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx);
        if self.pongs == 0 {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx);
        if self.queued > 0 {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// Runs `f` in every order with at most three switches that no thread asked for: what goes wrong, goes wrong with two.
fn every_order(f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

type Both = (Arc<Shared<Model>>, Arc<Mutex<Transport>>);

fn model() -> Both {
    let transport = Arc::new(Mutex::new(Transport::default()));
    let model = Model {
        inbox: 0,
        pongs: 0,
        queued: 0,
        transport: transport.clone(),
    };
    (Shared::new(model), transport)
}

/// Something happens outside; whoever asked last is told.
fn happens(transport: &Mutex<Transport>, change: impl FnOnce(&mut Transport)) {
    let mut transport = transport.lock().unwrap();
    change(&mut transport);
    let waker = transport.waker.take();
    drop(transport);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[test]
fn what_arrives_reaches_both_who_wait_for_it() {
    every_order(|| {
        let (shared, transport) = model();
        let other = shared.clone();
        let receiver = thread::spawn(move || block_on(other.poll(Model::poll_recv)));
        let outside = thread::spawn(move || happens(&transport, |t| t.arrived += 1));
        // Whichever of the two reads it, the other must hear of it.
        block_on(shared.poll(Model::poll_pong));
        receiver.join().unwrap();
        outside.join().unwrap();
    });
}

#[test]
fn what_one_does_at_once_wakes_the_other() {
    every_order(|| {
        let (shared, _) = model();
        let other = shared.clone();
        let receiver = thread::spawn(move || block_on(other.poll(Model::poll_recv)));
        shared.now(|model| model.inbox += 1);
        receiver.join().unwrap();
    });
}

#[test]
fn a_queue_that_one_fills_and_another_empties_wakes_who_flushes() {
    every_order(|| {
        let (shared, transport) = model();
        shared.now(|model| model.queued += 1);
        let other = shared.clone();
        let flusher = thread::spawn(move || block_on(other.poll(Model::poll_flush)));
        happens(&transport, |t| t.room += 1);
        // This one only drives: it may be the one that empties the queue.
        let mut once = pin!(shared.poll(Model::poll_recv));
        let _ = once.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        flusher.join().unwrap();
    });
}

#[test]
fn who_makes_room_wakes_who_could_not_read_on() {
    every_order(|| {
        let (shared, transport) = model();
        shared.now(|model| model.inbox = FULL);
        happens(&transport, |t| t.arrived += 1);
        let other = shared.clone();
        // The pong lies behind an unread message: this one does not even ask the transport.
        let pinger = thread::spawn(move || block_on(other.poll(Model::poll_pong)));
        block_on(shared.poll(Model::poll_recv));
        pinger.join().unwrap();
    });
}

#[test]
fn a_future_that_is_dropped_takes_no_wake_up_along() {
    every_order(|| {
        let (shared, transport) = model();
        let other = shared.clone();
        let dropped = thread::spawn(move || {
            let mut future = pin!(other.poll(Model::poll_pong));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = future.as_mut().poll(&mut cx); // it asked the transport last, perhaps
        });
        let outside = thread::spawn(move || happens(&transport, |t| t.arrived += 1));
        block_on(shared.poll(Model::poll_recv));
        dropped.join().unwrap();
        outside.join().unwrap();
    });
}
