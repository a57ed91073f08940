//! What may pass: a [`Guard`] around any [`Handler`](tidegate_proto::Handler), one verdict per message.
//!
//! ```text
//!   Endpoint ──► Guard<H> ──► H          a message that the guard refuses never reaches H,
//!                  │                     and after a close verdict nothing more of that peer does
//!                  └─ Policy               parsed once: valid, or refused with line and column
//! ```
//!
//! [`Relay`] is the gateway: a client and an upstream, two full endpoints.
//!
//! Time, bytes and chance are passed in; nothing here reads a clock, a socket or a file.
//!
//! ```
//! use tidegate_guard::{Budget, Guard, Rate};
//!
//! let budget = Budget { messages: Rate::new(100, 200).unwrap(), ..Budget::default() };
//! let guard = Guard::new("your handler", budget);
//! ```
#![forbid(unsafe_code)]

pub mod audit;
pub mod credential;
pub mod crowd;
pub mod door;
mod guard;
mod inspect;
mod judges;
pub mod policy;
mod proxies;
mod relay;
mod upstream;
pub mod written;

pub use guard::{Budget, Guard};
pub use inspect::behaviour;
pub use inspect::detect::Scope;
pub use inspect::inspector::{Direction, Finding, Inspector, Kind, Verdict};
pub use inspect::json::JsonLimits;
pub use inspect::rate::{BadRate, Rate};
pub use inspect::rules::{BadRules, FREE_TEXT, Mode, RuleName, Rules, names as rule_names};
#[cfg(feature = "schema")]
pub use inspect::schema::{BadSchema, SchemaRules, Schemas};
pub use policy::{Policy, Route};
pub use proxies::{Proxies, ProxyField};
pub use relay::{Number, Relay, RelayCounts, RelayMail, RelaySettings, Witness};
pub use upstream::{BadField, Seen, Upstream, forwarded, is_claim, is_end_to_end};
