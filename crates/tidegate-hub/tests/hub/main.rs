//! The behaviour of the hub as its clients see it. Every test runs with one worker and with four.

mod commands;
mod control;
mod full;
mod liveness;
mod modes;
mod presence;
mod protobuf;
mod recovery;
mod tokens;

/// Makes two tests of each function: with one worker, and with four.
macro_rules! on_1_and_4_workers {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn on_1_worker() {
                super::$name(tidegate_sim::net::Net::new(1));
            }
            #[test]
            fn on_4_workers() {
                super::$name(tidegate_sim::net::Net::new(4));
            }
        }
    )*};
}
pub(crate) use on_1_and_4_workers;
