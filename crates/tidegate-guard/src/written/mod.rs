//! TOML as people write it: a text read into tables, faults with line and column, durations, sizes and
//! secrets. It knows no key by name and opens no file.

mod place;
mod suggest;
mod units;

pub use place::{line_and_column, of_key};
pub use units::{Secret, Size, Span};

use serde::de::DeserializeOwned;
use std::fmt;

/// What is wrong in a text and where: line and column as editors count them, from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong and what to write instead, on one line.
    pub what: String,
}

impl Fault {
    /// A fault at an octet of `text`.
    pub fn at(text: &str, octet: usize, what: impl Into<String>) -> Fault {
        let (line, column) = line_and_column(text, octet);
        Fault {
            line,
            column,
            what: what.into(),
        }
    }
}

/// `line:column: what`; put the file's name and a colon before it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for Fault {}

/// Reads a text into tables.
///
/// # Errors
/// The first [`Fault`].
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    toml::from_str(text).map_err(|error| {
        let octet = error.span().map_or(0, |span| span.start);
        Fault::at(text, octet, explain(&error))
    })
}

/// The parser's message on one line; a long list of what it expected becomes the nearest name.
pub fn explain(error: &toml::de::Error) -> String {
    let message: Vec<&str> = error.message().split_whitespace().collect();
    suggest::shorten(&message.join(" "))
}
