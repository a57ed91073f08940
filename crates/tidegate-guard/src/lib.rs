//! What may pass: a [`Guard`] around any [`Handler`](tidegate_proto::Handler), one verdict per message.
//!
//! ```text
//!   Endpoint ──► Guard<H> ──► H          a message that the guard refuses never reaches H,
//!                  │                     and after a close verdict nothing more of that peer does
//!                  └─ Policy
//! ```
//!
//! This first floor has one inspection, the message budget. It is built as the rest will be: a policy
//! that is valid once it exists, inspections that see whole messages, time passed in.
//!
//! ```
//! use tidegate_guard::{Guard, Policy, Rate};
//!
//! let policy = Policy { messages: Rate::new(100, 200).unwrap(), ..Policy::default() };
//! let guard = Guard::new("your handler", policy);
//! ```
#![forbid(unsafe_code)]

mod guard;
mod inspect;

pub use guard::{Guard, Policy};
pub use inspect::rate::{BadRate, Rate};
