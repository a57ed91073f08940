//! The simulator. It runs workers, sessions, mail and clients in one thread, on a clock that only it moves;
//! whatever is left to chance follows from a seed, so a failure can be had again.
//!
//! [`net`] is the engine: real endpoints, real shards, real frames. [`follower`] are clients that behave as
//! the SDKs do and check what they see while they see it, in an [`account`]. [`schedule`] lets things go wrong
//! around them, and compares in the end what was acknowledged with what everybody saw; [`ledger`] does that where
//! a server may have been restarted meanwhile.
//!
//! `cargo run -p tidegate-sim -- SEEDS [FIRST]` runs many schedules; a failure prints its seed.

#![forbid(unsafe_code)]

pub mod account;
pub mod follower;
pub mod ledger;
pub mod net;
pub mod schedule;
