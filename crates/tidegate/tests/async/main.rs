//! The async face on transports in memory and on loopback sockets; time is virtual wherever it matters.

mod cancel;
mod cancel_sockets;
mod client;
mod common;
mod drain;
mod handshake;
mod http2;
mod net;
mod sockets;
mod split;
mod streams;
mod upgrade;
mod websocket;
