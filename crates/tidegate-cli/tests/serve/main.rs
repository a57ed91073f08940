//! `tidegate serve` as its users meet it: the real binary, real sockets, clients of our own that share no
//! code with it.

mod admin;
mod api;
mod channels;
mod config;
mod exits;
mod feed;
mod guarded;
mod http2;
mod http2_floods;
mod kept;
mod keys;
mod pages;
mod service;
mod stopping;
mod storm;
mod support;
mod tls;
mod upgrades;
mod wire;
