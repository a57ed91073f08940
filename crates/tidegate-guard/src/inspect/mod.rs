//! The inspections; each looks at whole messages and keeps what it must remember of a peer.

pub(crate) mod rate;
