//! Finds the code, tests and cases that rows point to, by their text; it never compiles anything.

use std::fs;
use std::ops::Range;
use std::path::Path;

type Found<T> = std::result::Result<T, String>;

/// The lines of `path::item`, from its first to its last, counted from 0; `path::Type::item` lies in an `impl`
/// of that type or is a variant or field of it.
pub(crate) fn code(root: &Path, place: &str) -> Found<Range<usize>> {
    let (path, item) = split(place)?;
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
    let lines: Vec<&str> = text.lines().collect();
    find(&lines, item).ok_or_else(|| format!("{path} has no {item}"))
}

/// The only line of `path::item` that holds `part`, counted from 0.
pub(crate) fn line(root: &Path, place: &str, part: &str) -> Found<usize> {
    let (path, _) = split(place)?;
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut found = code(root, place)?.filter(|at| lines[*at].contains(part));
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(format!("{place} has no line with `{part}`")),
        _ => Err(format!("{place} has several lines with `{part}`")),
    }
}

/// Whether a test exists: `path::name`, or `file.txt: case`.
pub(crate) fn test(root: &Path, place: &str) -> Found<()> {
    if let Some((file, name)) = case(place) {
        return has_case(root, file, name);
    }
    let (path, name) = split(place)?;
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| names(line.trim_start(), name) && line.contains("fn "));
    let at = at.ok_or_else(|| format!("{path} has no test {name}"))?;
    let marked = lines[at.saturating_sub(3)..at]
        .iter()
        .map(|line| line.trim())
        .any(|line| line == "#[test]" || line.starts_with("#[tokio::test"));
    marked
        .then_some(())
        .ok_or_else(|| format!("{path}: {name} is no test"))
}

/// File and name, if this names a case of the table.
pub(crate) fn case(place: &str) -> Option<(&str, &str)> {
    place
        .split_once(": ")
        .filter(|(file, _)| file.ends_with(".txt"))
}

fn has_case(root: &Path, file: &str, name: &str) -> Found<()> {
    let path = root.join("tests/conformance/cases").join(file);
    let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    let start = format!("{name}  ");
    let found = text.lines().any(|line| line.starts_with(&start));
    found
        .then_some(())
        .ok_or_else(|| format!("{file} has no case {name:?}"))
}

/// The path and what stands after the first `::`.
pub(crate) fn split(place: &str) -> Found<(&str, &str)> {
    place
        .split_once("::")
        .ok_or_else(|| format!("{place:?} is no path::item"))
}

fn find(lines: &[&str], item: &str) -> Option<Range<usize>> {
    let Some((owner, member)) = item.split_once("::") else {
        let at = lines.iter().position(|line| declares(line, item))?;
        return Some(at..end(lines, at));
    };
    let inside = |test: &dyn Fn(&str) -> bool| {
        let blocks = (0..lines.len()).filter(|&at| opens(lines[at], owner));
        let mut members = blocks.flat_map(|at| (at..end(lines, at)).skip(1));
        members.find(|&at| test(lines[at]))
    };
    // A field may have the name of a function, which then is what is meant.
    let function = |line: &str| line.contains("fn ") && declares(line, member);
    let any = |line: &str| declares(line, member) || holds(line, member);
    let at = inside(&function).or_else(|| inside(&any))?;
    Some(at..end(lines, at))
}

/// A line at the margin that begins an `impl`, `struct`, `enum` or `trait` of that name.
fn opens(line: &str, owner: &str) -> bool {
    let begins = [
        "impl",
        "pub struct",
        "struct",
        "pub enum",
        "enum",
        "pub trait",
        "pub(super) struct",
        "pub(crate) struct",
    ];
    begins.iter().any(|word| line.starts_with(word)) && names(line, owner)
}

/// A line that declares an item of that name.
fn declares(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let mut rest = line;
    for word in [
        "pub(super) ",
        "pub(crate) ",
        "pub ",
        "async fn ",
        "const fn ",
        "async fn ",
        "unsafe fn ",
        "fn ",
        "const ",
        "struct ",
        "enum ",
        "trait ",
        "static ",
        "mod ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.len() < line.len() && starts_with_name(rest, name)
}

/// A variant or a field of that name.
fn holds(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    starts_with_name(line, name) && line[name.len()..].starts_with([',', ':', ' ', '('])
}

fn starts_with_name(text: &str, name: &str) -> bool {
    text.strip_prefix(name)
        .is_some_and(|rest| !rest.starts_with(is_name))
}

/// The line has this name as a whole word.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(is_name) && starts_with_name(&line[at..], name)
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Just behind the item that begins at `at`: by its indentation, as rustfmt writes it.
fn end(lines: &[&str], at: usize) -> usize {
    let indent = lines[at].len() - lines[at].trim_start().len();
    if lines[at].ends_with(';') || lines[at].ends_with(',') || lines[at].ends_with('}') {
        return at + 1;
    }
    let closes = |line: &&str| {
        let depth = line.len() - line.trim_start().len();
        depth == indent && line.trim_start().starts_with(['}', ']']) && !line.ends_with('{')
    };
    let behind = lines[at + 1..].iter().position(closes);
    behind.map_or(lines.len(), |more| at + 1 + more + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
pub const MAX: usize = 1;
impl<'a> Reader<'a> {
    /// Reads.
    pub fn read(
        &self,
    ) -> u8 {
        if x {
            y
        }
    }

    fn reader_of(&self) {}
}
pub enum Kind {
    One,
    Two { a: u8 },
}
fn read_on() {
}
struct Request {
    path: String,
}
impl Request {
    pub(super) async fn path() {}
}";

    #[test]
    fn items_are_found_by_their_whole_name() {
        let lines: Vec<&str> = TEXT.lines().collect();
        let rows = [
            ("MAX", Some(0..1)),
            ("Reader::read", Some(3..10)),
            ("Reader::reader_of", Some(11..12)),
            ("Reader::reade", None),
            ("Read::read", None),
            ("Kind::Two", Some(15..16)),
            ("Kind::Three", None),
            ("read_on", Some(17..19)),
            ("read_o", None),
            ("Request::path", Some(23..24)),
        ];
        for (item, expected) in rows {
            assert_eq!(find(&lines, item), expected, "{item}");
        }
    }

    #[test]
    fn cases_are_told_from_tests() {
        assert_eq!(
            case("frames.txt: ping, empty"),
            Some(("frames.txt", "ping, empty"))
        );
        assert_eq!(case("crates/a/src/b.rs::c"), None);
    }
}
