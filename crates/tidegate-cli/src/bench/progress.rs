//! The progress bar: on a terminal, on stderr, and nowhere else.

use super::clock::Clock;
use super::plan::Plan;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// What a run tells of itself while it runs.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    clock: Clock,
    began: u64,
    last: u64,
    counted: u64,
}

impl Progress {
    /// Nothing is shown unless stderr is a terminal.
    pub(crate) fn new(plan: &Plan, clock: Clock) -> Progress {
        let shown = !plan.quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix:>12} {wide_bar} {msg}");
            bar.set_style(style.expect("the template is right"));
            bar
        });
        Progress {
            bar,
            clock,
            began: 0,
            last: 0,
            counted: 0,
        }
    }

    /// Something begins that goes on to `end`: so many nanoseconds, or so many connections.
    pub(crate) fn stage(&mut self, name: &'static str, end: u64) {
        self.began = self.clock.now();
        if let Some(bar) = &self.bar {
            bar.set_prefix(name);
            bar.set_length(end.max(1));
            bar.set_position(0);
            bar.set_message("");
        }
    }

    /// So many connections are open.
    pub(crate) fn opened(&mut self, open: usize) {
        let now = self.clock.now();
        if let Some(bar) = self.bar.as_ref().filter(|_| now - self.last > OFTEN) {
            self.last = now;
            bar.set_position(open as u64);
            bar.set_message(format!("{open} connections"));
        }
    }

    /// It is `now`, and so much was counted.
    pub(crate) fn at(&mut self, now: u64, count: impl FnOnce() -> u64) {
        let passed = now - self.last;
        let Some(bar) = self.bar.as_ref().filter(|_| passed > OFTEN) else {
            return;
        };
        let count = count();
        let rate = count.saturating_sub(self.counted) as f64 * 1e9 / passed as f64;
        (self.last, self.counted) = (now, count);
        bar.set_position(now.saturating_sub(self.began));
        bar.set_message(format!("{rate:.0}/s"));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Nanoseconds between two drawings.
const OFTEN: u64 = 100_000_000;
