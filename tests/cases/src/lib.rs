//! The case table of the protocol: octets in, what must come of them; and the runners that hold every part
//! of Tidegate to it. It never decides what is right: the table does, row by row, by the RFC.
//!
//! ```text
//!   tests/conformance/cases/*.txt ─► Case ─┬─► run::connection    one connection, either role
//!                                          ├─► run::endpoint      a worker with an echo on it
//!                                          ├─► run::dial          the client's side of the handshake
//!                                          ├─► live               a server behind a socket
//!                                          └─► seeds ─► fuzz/     the fuzzers' corpora
//! ```
//!
//! Every row is fed whole, octet by octet, with a tail, and in random cuts. The grammar of the rows stands
//! in `tests/conformance/cases/README.md`.

#![forbid(unsafe_code)]

mod bytes;
pub mod echo;
mod expect;
pub mod inflate;
pub mod live;
pub mod random;
pub mod run;
pub mod seeds;
mod settings;
mod table;
pub mod targets;
pub mod wire;

pub use bytes::Step;
pub use expect::{Ending, Expect};
pub use settings::Settings;
pub use table::{Case, Stage, cases, parse};
