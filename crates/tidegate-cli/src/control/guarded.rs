//! A future whose panic becomes an answer, so that one bad request costs only itself.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs a future; `None` if it panicked. The panic was reported by the panic hook.
pub(super) struct Guarded<F>(Pin<Box<F>>);

impl<F: Future> Guarded<F> {
    /// Wraps `future`, which must not be relied on to leave shared state whole when it panics.
    pub(super) fn new(future: F) -> Guarded<F> {
        Guarded(Box::pin(future))
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Safe to assert: after a panic the future is never polled again.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_and_a_value_passes() {
        assert_eq!(Guarded::new(async { 1 }).await, Some(1));
        let bad = Guarded::new(async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        assert_eq!(bad.await, None::<()>);
    }
}
