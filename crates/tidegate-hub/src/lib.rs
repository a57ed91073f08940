//! Who receives a message: channels with history, presence and recovery, in the Centrifuge client
//! protocol (version 2, JSON and protobuf).
//!
//! ```text
//!   client ──► Shard of its worker ──ask──► Shard of the channel's home ──► broker (history, offsets)
//!                  ▲      ▲                      │
//!   client ◄── members    └──answer, deliver─────┘      one mail for each worker with members
//!
//!   Hub (control plane) ──mail──► the home
//! ```
//!
//! Every channel has one *home worker*, found by a hash of its name. It numbers the publications, keeps the
//! history, knows who is there, and sends one mail to each worker with members; that worker gives the frame,
//! encoded once, to its own. There is no lock, and no mail for each subscriber. Order and recovery follow
//! from one fact: mail between two workers arrives in the order of sending.
//!
//! When a mailbox is full nothing is lost in silence: see [`Shard`].
//!
//! ```
//! use std::sync::Arc;
//! use tidegate_hub::{Access, HubConfig, Shard, TopicName};
//! use tidegate_proto::WorkerId;
//!
//! let config = Arc::new(HubConfig::dev());
//! let market = TopicName::parse("market:BTC-USD").unwrap();
//! assert!(config.allow(&market, Access::History).is_ok());
//! assert_eq!(config.allow(&market, Access::Publish).unwrap_err().code, 103);
//! let workers = 2;
//! let _shards: Vec<Shard> =
//!     (0..2).map(|n| Shard::new(Arc::clone(&config), WorkerId(n), workers)).collect();
//! ```

#![forbid(unsafe_code)]

mod broker;
pub mod codec;
pub mod command;
mod config;
mod history;
mod home;
mod hub;
mod local;
mod mail;
mod news;
mod pace;
mod presence;
mod publication;
mod reply;
mod seed;
mod session;
mod shard;
mod spool;
mod stats;
mod token;
mod topic;

pub use config::{
    Access, Delivery, HubConfig, HubLimits, JoinLeave, Namespace, Namespaces, PresenceBy, Rate,
    RecoveryMode, Slow, UnknownKey, Who,
};
pub use history::{Page, Recovery, Slice};
pub use hub::{Hub, HubError, MAX_DATA, Outgoing, Refreshed, ServerSubscribe, Target};
pub use mail::ShardMail;
pub use presence::PresenceStats;
pub use publication::{
    BadJson, ClientInfo, Epoch, MAX_DEPTH, Payload, Position, Publication, RawJson, Tags,
};
pub use reply::{ClientError, Disconnect};
pub use shard::{Shard, ShardSize};
pub use stats::{ChannelInfo, ClientSummary, HubStats, Revocation, WorkerStats};
pub use token::{BadKey, NotSigned, TokenKeys, fuzz_token};
pub use topic::{BadName, MAX_NAME, TopicName};
