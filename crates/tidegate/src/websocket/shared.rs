//! One value that several tasks poll, and who of them waits for it. The lock is held while the value is
//! polled, never across an await.
//!
//! The value is given one waker that wakes all who wait: whatever the transport has to say, somebody hears it.
//! Who changes the value wakes the others by himself. `tests/loom` runs this file in every order there is.

use super::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::future::poll_fn;
use std::task::{Context, Poll, Wake, Waker};

/// What others may wait for is visible in the state.
pub(super) trait Progress {
    /// Changes whenever something happened that another task may wait for.
    type State: PartialEq;

    fn progress(&self) -> Self::State;
}

pub(super) struct Shared<T> {
    value: Mutex<T>,
    waiters: std::sync::Arc<Waiters>,
    /// Wakes all the waiters.
    waker: Waker,
}

/// The tasks that wait.
#[derive(Default)]
struct Waiters(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

/// A waiter's number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

/// To wake so many costs no allocation.
const FEW: usize = 4;

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, place: Place, waker: &Waker) {
        let mut list = self.lock();
        let old = match list.wakers.iter_mut().find(|(n, _)| *n == place.0) {
            Some((_, old)) if old.will_wake(waker) => None,
            Some((_, old)) => Some(std::mem::replace(old, waker.clone())),
            None => {
                list.wakers.push((place.0, waker.clone()));
                None
            }
        };
        drop(list);
        drop(old); // it may be the last handle of a task
    }

    /// Wakes all but `number`, without the lock: a waker may run anything. They stay in the list until they
    /// leave it.
    fn wake_others(&self, number: u64) {
        let mut few: [Option<Waker>; FEW] = [const { None }; FEW];
        let mut many = Vec::new();
        let list = self.lock();
        let mut others = list.wakers.iter().filter(|(n, _)| *n != number);
        for (place, (_, waker)) in few.iter_mut().zip(&mut others) {
            *place = Some(waker.clone());
        }
        many.extend(others.map(|(_, waker)| waker.clone()));
        drop(list);
        few.into_iter().flatten().chain(many).for_each(Waker::wake);
    }
}

impl Wake for Waiters {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_others(NOBODY);
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.wake_others(NOBODY);
    }
}

/// Numbers begin at 1.
const NOBODY: u64 = 0;

impl<T: Progress> Shared<T> {
    pub(super) fn new(value: T) -> Arc<Shared<T>> {
        let waiters = std::sync::Arc::<Waiters>::default();
        Arc::new(Shared {
            value: Mutex::new(value),
            waker: Waker::from(waiters.clone()),
            waiters,
        })
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the value and changes nothing.
    pub(super) fn look<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.lock())
    }

    /// Does something at once, and wakes who may wait for that.
    pub(super) fn now<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let result = f(&mut self.lock());
        self.waiters.wake_others(NOBODY);
        result
    }

    /// A place among the waiters, to be left again.
    pub(super) fn join(&self) -> Place {
        let mut list = self.waiters.lock();
        list.next += 1;
        Place(list.next)
    }

    /// Who has `place` waits no longer.
    pub(super) fn leave(&self, place: Place) {
        let mut list = self.waiters.lock();
        let at = list.wakers.iter().position(|(n, _)| *n == place.0);
        let waker = at.map(|at| list.wakers.swap_remove(at));
        drop(list);
        drop(waker); // it may be the last handle of a task
    }

    /// Polls the value for who has `place`.
    pub(super) fn poll_at<R>(
        &self,
        place: Place,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        // Before the transport is asked: what it says from now on wakes this task.
        self.waiters.wait(place, cx.waker());
        let mut value = self.lock();
        let before = value.progress();
        let polled = f(&mut value, &mut Context::from_waker(&self.waker));
        let changed = value.progress() != before;
        drop(value);
        if changed {
            self.waiters.wake_others(place.0);
        }
        polled
    }

    /// Polls `f` on the value until it is ready.
    pub(super) async fn poll<R>(
        &self,
        mut f: impl FnMut(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> R {
        let guest = Guest {
            shared: self,
            place: self.join(),
        };
        poll_fn(|cx| self.poll_at(guest.place, cx, &mut f)).await
    }
}

/// A future's place among the waiters; it leaves when the future is dropped.
struct Guest<'a, T: Progress> {
    shared: &'a Shared<T>,
    place: Place,
}

impl<T: Progress> Drop for Guest<'_, T> {
    fn drop(&mut self) {
        self.shared.leave(self.place);
    }
}
