//! The words after a job's name: `--name value` and `--flag`. An unknown one is an error.

use std::str::FromStr;

use crate::sh::Result;

/// Nothing but these names, each followed by its value, and these flags.
pub(crate) fn only(words: &[&str], names: &[&str], flags: &[&str]) -> Result<()> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if names.contains(word) {
            words
                .next()
                .ok_or_else(|| format!("{word} wants a value"))?;
        } else if !flags.contains(word) {
            let known = [names, flags].concat().join(" ");
            return Err(format!("unknown word {word}; there are {known}").into());
        }
    }
    Ok(())
}

/// What follows `name`.
pub(crate) fn value<'a>(words: &[&'a str], name: &str) -> Result<Option<&'a str>> {
    let Some(at) = words.iter().position(|word| *word == name) else {
        return Ok(None);
    };
    let value = words
        .get(at + 1)
        .ok_or_else(|| format!("{name} wants a value"))?;
    Ok(Some(value))
}

/// The number that follows `name`, or what holds without.
pub(crate) fn number<T: FromStr>(words: &[&str], name: &str, otherwise: T) -> Result<T> {
    match value(words, name)? {
        None => Ok(otherwise),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} wants a number, not {text}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{number, only, value};

    #[test]
    fn words_are_read_and_unknown_ones_refused() {
        let words = ["--rounds", "7", "--record"];
        assert!(only(&words, &["--rounds"], &["--record"]).is_ok());
        assert!(only(&["--rounds"], &["--rounds"], &[]).is_err());
        assert!(only(&["--what"], &["--rounds"], &["--record"]).is_err());
        assert_eq!(number(&words, "--rounds", 5).ok(), Some(7));
        assert_eq!(number(&words, "--seconds", 1.5).ok(), Some(1.5));
        assert!(number(&["--rounds", "many"], "--rounds", 5).is_err());
        assert_eq!(value(&words, "--only").ok(), Some(None));
    }
}
