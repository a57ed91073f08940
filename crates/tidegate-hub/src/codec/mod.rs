//! The spellings of the client vocabulary.

pub mod json;
