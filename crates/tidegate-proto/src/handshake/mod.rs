//! The opening handshake of RFC 6455 over HTTP/1.1, both roles; it never touches a socket, a clock or a
//! random source.
//!
//! ```text
//!   server:  octets ─► server::parse ─► Upgrade(Request) ─► server::response   101
//!                                     ├► Plain             an ordinary HTTP request, for an HTTP server
//!                                     └► Bad(Refusal)     ─► server::refuse     4xx, Connection: close
//!   client:  ClientHandshake::new ─► request() ─► octets ─► parse_response ─► Accepted | Refused | error
//! ```
//!
//! ```
//! use tidegate_proto::{HeadLimits, handshake::server};
//!
//! let wire = b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
//! let (head, _length) = server::parse(wire, false, &HeadLimits::default());
//! let server::Head::Upgrade(request) = head else { panic!("{head:?}") };
//! assert_eq!((request.path(), request.authority()), ("/chat", "example.com"));
//! let mut answer = Vec::new();
//! server::response(&request, None, &mut answer).unwrap();
//! assert!(answer.starts_with(b"HTTP/1.1 101 "));
//! ```

mod authority;
pub mod body;
pub mod client;
pub mod connect;
pub mod extensions;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
mod http1;
pub mod key;
pub mod origin;
mod scan;
pub mod server;
#[cfg(test)]
mod testing;
pub mod tunnel;
mod write;

pub use client::{ClientHandshake, ClientRequest};
pub use extensions::{BadHeader, Extension, parse_offers};
pub use fields::Fields;
pub use http1::Request;
pub use origin::{BadOrigin, Origin, OriginPolicy};
pub use scan::HeadScan;
pub use server::Refusal;
pub use write::BadField;
