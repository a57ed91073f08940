//! The relay as a whole, between clients and a server, on a clock that only the test moves: what it lets pass in mid-session,
//! when it ends a pair, and what a flood costs the others.

mod floods;
mod rows;
mod world;
