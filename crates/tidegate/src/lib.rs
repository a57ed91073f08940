//! WebSocket for Rust programs: one connection in the hand on tokio, or a server with an event loop per core.
//!
//! ```text
//!   connect(url) ─┐                                         a task of yours holds each connection:
//!   accept(io)   ─┴─► WebSocket<S>   recv · send · close     clients, ordinary servers
//!
//!   Server<H>  ──► worker 0  [ event loop │ Endpoint │ your Handler ] ◄─┐
//!              └─► worker N  [ event loop │ Endpoint │ your Handler ] ◄─┴─ mail: a million connections
//! ```
//!
//! # One connection in the hand
//! [`connect`] and [`accept`] give a [`WebSocket`]: messages in, messages out, and one [`Closed`] at the end.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}", listener.local_addr()?);
//! let server = async {
//!     let (tcp, _) = listener.accept().await?;
//!     let mut ws = tidegate::accept(tcp).await?;
//!     while let Ok(message) = ws.recv().await {
//!         ws.send(message).await?;
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let client = async {
//!     let mut ws = tidegate::connect(&url).await?;
//!     ws.send("hello").await?;
//!     assert_eq!(ws.recv().await?.as_text(), Some("hello"));
//!     ws.close(tidegate::CloseCode::NORMAL, "").await;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let (server, client) = tokio::join!(server, client);
//! server.and(client)
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # A server on all cores
//! A `Server` (feature `engine`) gives each worker thread a [`Handler`] of its own: plain code without locks,
//! tasks or `await`. A connection lives on one worker for life; workers talk by mail, and so does the rest of
//! your program, through a `Mailer`.
//!
//! ```
//! # #[cfg(feature = "engine")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tidegate::{Echo, Server};
//!
//! let server = Server::builder().listen("127.0.0.1:0".parse()?).workers(2).start(|_| Echo::default())?;
//! println!("ws://{}", server.local_addr());
//! server.drain(Duration::from_secs(30)); // what SIGTERM should do
//! server.join()?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "engine"))]
//! # fn main() {}
//! ```
//!
//! # Features
//! | feature | adds | default |
//! |---|---|---|
//! | `tokio` | [`WebSocket`], [`connect`], [`accept`] | yes |
//! | `deflate` | permessage-deflate (RFC 7692) | yes |
//! | `tls` | `wss://` for [`connect`] | |
//! | `engine` | `Server`, with TLS | |
//! | `hyper`, `axum` | WebSockets out of their requests | |
//! | `http2` | WebSockets over HTTP/2 (RFC 8441) | |
//! | `testing` | pairs in memory, transports that misbehave | |

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod client;
#[cfg(feature = "tokio")]
pub mod dial;
#[cfg(feature = "tokio")]
pub mod drain;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(any(feature = "engine", feature = "tls"))]
pub mod error;
#[cfg(feature = "tokio")]
mod message;
mod random;
#[cfg(feature = "tokio")]
pub mod reconnect;
#[cfg(feature = "tokio")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "engine", feature = "tls"))]
pub mod tls;
#[cfg(feature = "hyper")]
pub mod upgrade;
#[cfg(feature = "tokio")]
pub mod websocket;

#[cfg(feature = "tokio")]
pub use client::{Client, ClientStream, ConnectError, connect};
#[cfg(feature = "tokio")]
pub use dial::Proxy;
#[cfg(feature = "tls")]
pub use dial::Tls;
#[cfg(feature = "tokio")]
pub use drain::{Drain, Farewell};
#[cfg(feature = "engine")]
pub use engine::{Adopter, Echo, Mailer, PlainHttp, PlainIo, Running, Server, ServerBuilder};
#[cfg(feature = "engine")]
pub use error::JoinError;
#[cfg(any(feature = "engine", feature = "tls"))]
pub use error::TlsError;
#[cfg(feature = "tokio")]
pub use message::{Message, Text};
pub use random::OsRandom;
#[cfg(feature = "tokio")]
pub use reconnect::Reconnect;
#[cfg(any(feature = "engine", feature = "tls"))]
pub use rustls;
#[cfg(feature = "tokio")]
pub use server::{AcceptError, Acceptor, accept};
pub use tidegate_proto;
#[doc(inline)]
pub use tidegate_proto::{
    Accept, CloseCode, Closed, Config, Encoded, EndpointConfig, Handler, HeadLimits, Incoming,
    Level, Limits, MailboxFull, Opening, OriginPolicy, Outboxes, PeerId, Rejection, Request, Time,
    Timeouts, TimerId, WorkerId,
};
#[cfg(feature = "tokio")]
pub use websocket::{PingError, Receiver, Sender, TrySendError, WebSocket};
