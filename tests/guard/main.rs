//! `tidegate guard` against its threats (the table H, F, R, S, T, O): the real binary before an upstream of raw sockets
//! that writes down all it sees. A row that must not reach the upstream is followed by one that must, so that
//! "the upstream saw nothing" is a count and not a pause.
//!
//! It is a test of `tidegate-cli` (see its manifest), because cargo builds the binary for those.

mod certificates;
mod content;
mod credentials;
mod evidence;
mod frames;
mod handshake;
mod keys;
mod messages;
mod plain;
mod resources;
mod running;
mod support;
mod transport;
mod wrappings;
