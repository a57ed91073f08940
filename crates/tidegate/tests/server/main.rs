//! The whole server on real sockets: one file a matter, one binary for all, so that it links once.

mod bad_input;
mod common;
mod dial;
mod echo;
mod hand_over;
mod lifecycle;
mod tls;
