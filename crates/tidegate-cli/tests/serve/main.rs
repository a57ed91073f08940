//! `tidegate serve` as its users meet it: the real binary, real sockets, clients of our own that share no
//! code with it.

mod channels;
mod exits;
mod kept;
mod pages;
mod stopping;
mod support;
mod tls;
mod upgrades;
mod wire;
