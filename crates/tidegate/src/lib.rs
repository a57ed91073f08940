//! WebSocket servers on one event loop per core, with TLS, and a way out to ordinary HTTP.
//!
//! ```text
//!  clients ──► kernel ──► worker 0  [ event loop │ Endpoint │ your Handler ] ◄─┐
//!                    ├──► worker 1  [ event loop │ Endpoint │ your Handler ] ◄─┼─ mail
//!                    └──► worker N  [ event loop │ Endpoint │ your Handler ] ◄─┘
//!                            │
//!                            └──► plain_http: connections that ask for no WebSocket, for hyper
//! ```
//!
//! A [`Server`] gives each worker thread a [`Handler`] of its own: plain code without locks, tasks or
//! `await`. A connection lives on one worker for life; workers talk by mail, and so does the rest of your
//! program, through a [`Mailer`].
//!
//! ```
//! use std::time::Duration;
//! use tidegate::{Echo, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().listen("127.0.0.1:0".parse()?).workers(2).start(|_| Echo::default())?;
//! println!("ws://{}", server.local_addr());
//! server.drain(Duration::from_secs(30)); // what SIGTERM should do
//! server.join()?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod client;
pub mod engine;
pub mod error;
#[cfg(feature = "tokio")]
mod message;
#[cfg(feature = "tokio")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
#[cfg(feature = "tokio")]
pub mod websocket;

#[cfg(feature = "tokio")]
pub use client::{Client, ClientStream, ConnectError, connect};
pub use engine::{
    Adopter, Echo, Mailer, OsRandom, PlainHttp, PlainIo, Running, Server, ServerBuilder,
};
pub use error::{JoinError, TlsError};
#[cfg(feature = "tokio")]
pub use message::{Message, Text};
#[cfg(feature = "tokio")]
pub use server::{AcceptError, Acceptor, accept};
#[doc(inline)]
pub use tidegate_proto::{
    Accept, CloseCode, Closed, Config, Encoded, EndpointConfig, Handler, HeadLimits, Incoming,
    Level, Limits, MailboxFull, Opening, OriginPolicy, Outboxes, PeerId, Rejection, Request, Time,
    Timeouts, TimerId, WorkerId,
};
#[cfg(feature = "tokio")]
pub use websocket::{PingError, Receiver, Sender, TrySendError, WebSocket};
pub use {rustls, tidegate_proto};
