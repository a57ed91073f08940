//! Nothing but tests: see `tests/`.

#![forbid(unsafe_code)]
