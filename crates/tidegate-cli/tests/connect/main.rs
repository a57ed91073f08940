//! `tidegate connect` as people and scripts meet it: the real binary, real sockets, pipes and a terminal.

mod exits;
mod pipes;
#[cfg(unix)]
mod prompt;
mod reaching;
mod shown;
mod support;
