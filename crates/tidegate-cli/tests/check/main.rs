//! `tidegate check` as people and pipelines meet it: the real binary against a server with seeded faults, against
//! `tidegate serve`, and against libraries of others.

mod bad;
mod exits;
mod faults;
mod peers;
mod support;
