//! The WebSocket protocol (RFC 6455) without I/O: bytes and time go in, events and bytes come out.
//!
//! ```text
//!   octets ──► Connection ──► Event       one connection: frames, messages, ping, close
//!   octets ──► Endpoint<H> ──► H          all connections of one worker, from the first octet of the
//!                 │                       opening handshake to the last; H is your Handler
//!                 └──► poll_transmit      octets owed to a peer
//! ```
//!
//! Nothing here reads a clock, a socket or a random source: time is a [`Time`] argument, randomness a
//! [`Random`] argument, bytes are slices. So the same code runs under an event loop, under an async
//! runtime and under a simulator on virtual time.
//!
//! ```
//! use std::sync::Arc;
//! use tidegate_proto::{Config, Connection, Event, Outbox, Random, Resources, Role, Time};
//!
//! struct Zeros;
//! impl Random for Zeros {
//!     fn fill(&mut self, bytes: &mut [u8]) { bytes.fill(0) }
//! }
//! let mut server = Connection::new(Role::Server, Arc::new(Config::default()), Outbox::default(), Time::ZERO);
//! let mut wire = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; // RFC 6455 §5.7: a masked "Hello"
//! let mut input = &mut wire[..];
//! let mut resources = Resources::new(Box::new(Zeros)); // a real driver gives the system's CSPRNG
//! match server.receive(Time::ZERO, &mut input, &mut resources) {
//!     Some(Event::Message(message)) => assert_eq!(message.as_bytes(), b"Hello"),
//!     other => panic!("{other:?}"),
//! }
//! ```

pub mod close;
pub mod config;
pub mod connection;
pub mod deflate;
pub mod endpoint;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod time;
pub mod utf8;

pub use close::{CloseCode, Closed, Side};
pub use config::{Config, HeadLimits, Limits, Timeouts};
pub use connection::{
    Connection, Encoded, Event, Incoming, Level, Message, MessageKind, Outbox, Part, Payload,
    Piece, Resources, Role, StreamMisuse, Streaming, Text, Transport,
};
pub use deflate::{Deflate, DeflateConfig, Negotiated};
pub use endpoint::{
    Accept, Call, Dial, DialError, Direction, Endpoint, EndpointConfig, Handler, MailboxFull,
    Opening, Outboxes, PeerId, PeerInfo, Post, Rejection, TimerId, Wire, WorkerId,
};
pub use error::ProtocolError;
pub use handshake::{OriginPolicy, Request};
pub use time::{Random, Time};
