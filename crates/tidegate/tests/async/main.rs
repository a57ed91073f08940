//! The async face on transports in memory and on loopback sockets; time is virtual wherever it matters.

mod cancel;
mod drain;
mod common;
mod handshake;
mod sockets;
mod split;
mod streams;
mod upgrade;
mod websocket;
