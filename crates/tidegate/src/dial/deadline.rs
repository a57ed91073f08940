//! How long connecting may take, stage by stage and in all; it names the stage that was too slow.

use crate::client::{ConnectError, Stage};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bounds, before the clock runs.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    total: Duration,
    stages: [Option<Duration>; Stage::COUNT],
}

impl Patience {
    pub(crate) fn new(total: Duration) -> Patience {
        Patience {
            total,
            stages: [None; Stage::COUNT],
        }
    }

    pub(crate) fn set_total(&mut self, total: Duration) {
        self.total = total;
    }

    pub(crate) fn total(&self) -> Duration {
        self.total
    }

    pub(crate) fn set_stage(&mut self, stage: Stage, most: Duration) {
        self.stages[stage as usize] = Some(most);
    }

    /// The clock runs from now.
    pub(crate) fn start(&self) -> Deadline {
        Deadline {
            at: Instant::now() + self.total,
            stages: self.stages,
        }
    }
}

/// Bounds of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    stages: [Option<Duration>; Stage::COUNT],
}

impl Deadline {
    /// When a stage that begins now must be done.
    pub(crate) fn of(&self, stage: Stage) -> Instant {
        match self.stages[stage as usize] {
            Some(most) => self.at.min(Instant::now() + most),
            None => self.at,
        }
    }

    /// Runs `work` as the stage it is.
    pub(crate) async fn within<F: Future>(
        &self,
        stage: Stage,
        work: F,
    ) -> Result<F::Output, ConnectError> {
        let done = timeout_at(self.of(stage), work).await;
        done.map_err(|_| ConnectError::Timeout { stage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn the_nearer_of_both_bounds_holds_and_the_stage_is_named() {
        let mut patience = Patience::new(Duration::from_secs(10));
        patience.set_stage(Stage::Dns, Duration::from_secs(2));
        patience.set_stage(Stage::Tls, Duration::from_secs(60));
        let start = Instant::now();
        let deadline = patience.start();
        for (stage, at) in [(Stage::Dns, 2), (Stage::Tls, 10), (Stage::Http, 10)] {
            let error = deadline.within(stage, pending::<()>()).await.unwrap_err();
            assert!(
                matches!(error, ConnectError::Timeout { stage: named } if named == stage),
                "{error:?}"
            );
            assert_eq!(start.elapsed(), Duration::from_secs(at));
        }
    }
}
