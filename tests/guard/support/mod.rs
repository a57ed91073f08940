//! What the rows need: a guard process, a raw upstream, a raw client. None of it shares code with ours.

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod guard;
pub(crate) mod issuer;
pub(crate) mod mutual;
pub(crate) mod sha1;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::time::Duration;

/// No read of a test waits longer; what does not answer fails the test instead of hanging it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// So many as the threat's row says under `cargo xtask test --full`, and else so many as show the same in a moment.
pub(crate) fn many(usual: usize, as_the_row_says: usize) -> usize {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => as_the_row_says,
        None => usual,
    }
}
