//! The rows of `specs/*.toml`, in the small part of TOML that they are written in: tables of one-line strings.

use std::fs;
use std::path::Path;

use crate::sh::Result;

/// One requirement.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// File and line.
    pub(crate) place: String,
    /// `rfc6455`
    pub(crate) rfc: String,
    pub(crate) section: String,
    pub(crate) level: String,
    /// The requirement in our words.
    pub(crate) says: String,
    /// `path::item` or `path::Type::item`.
    pub(crate) code: Option<String>,
    /// `path::test_name`, or `file.txt: name of a case`; all of them.
    pub(crate) tests: Vec<String>,
    /// What to change in the code so that the row must bite, where a change of any kind would show less: a part of
    /// one of its lines, and what it becomes.
    pub(crate) change: Option<(String, String)>,
    /// Why there is no code or no test.
    pub(crate) exception: Option<String>,
}

const LEVELS: [&str; 4] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"];

/// All rows below `folder`.
pub(crate) fn read(folder: &Path) -> Result<Vec<Row>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    files.sort_by_key(fs::DirEntry::path);
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        if let Some(rfc) = name.strip_suffix(".toml") {
            rows.extend(parse(rfc, &fs::read_to_string(file.path())?)?);
        }
    }
    Ok(rows)
}

/// The rows of one file.
fn parse(rfc: &str, text: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("specs/{rfc}.toml:{}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[row]]" {
            rows.push(empty(rfc, place));
            continue;
        }
        let row = rows
            .last_mut()
            .ok_or(format!("{place}: a key before the first row"))?;
        fill(row, line).map_err(|why| format!("{place}: {why}"))?;
    }
    for row in &rows {
        complete(row).map_err(|why| format!("{}: {why}", row.place))?;
    }
    Ok(rows)
}

fn empty(rfc: &str, place: String) -> Row {
    Row {
        place,
        rfc: rfc.to_owned(),
        section: String::new(),
        level: String::new(),
        says: String::new(),
        code: None,
        tests: Vec::new(),
        change: None,
        exception: None,
    }
}

fn fill(row: &mut Row, line: &str) -> std::result::Result<(), String> {
    let (key, value) = line.split_once(" = ").ok_or("no `key = value`")?;
    match key {
        "section" => row.section = string(value)?,
        "level" => row.level = string(value)?,
        "says" => row.says = string(value)?,
        "code" => row.code = Some(string(value)?),
        "exception" => row.exception = Some(string(value)?),
        "change" => row.change = Some(change(value)?),
        "test" => row.tests.push(string(value)?),
        "tests" => {
            let list = value
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            for item in list.ok_or("a list is written on one line")?.split("\", \"") {
                row.tests
                    .push(string(&format!("\"{}\"", item.trim_matches('"')))?);
            }
        }
        other => return Err(format!("no key is called {other:?}")),
    }
    Ok(())
}

fn string(value: &str) -> std::result::Result<String, String> {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(text) if !text.contains(['"', '\\']) => Ok(text.to_owned()),
        _ => Err(format!("{value} is no plain string")),
    }
}

/// `'what stands there ==> what it becomes'`, in single quotes, for code has double ones.
fn change(value: &str) -> std::result::Result<(String, String), String> {
    let inner = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let both = inner.and_then(|text| text.split_once(" ==>"));
    match both {
        Some((was, becomes)) if !inner.unwrap_or_default().contains('\'') => {
            Ok((was.to_owned(), becomes.trim_start().to_owned()))
        }
        _ => Err(format!("{value} is no 'before ==> after'")),
    }
}

fn complete(row: &Row) -> std::result::Result<(), String> {
    if row.section.is_empty() || row.says.is_empty() || !LEVELS.contains(&row.level.as_str()) {
        return Err(
            "section, level (MUST, MUST NOT, SHOULD, SHOULD NOT) and says are needed".into(),
        );
    }
    let kept = row.code.is_some() && !row.tests.is_empty();
    match (kept, &row.exception) {
        (false, None) => Err("code and test, or an exception, are needed".into()),
        (true, Some(_)) => Err("what has code and test is no exception".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    const ROW: &str = "[[row]]\nsection = \"5.2\"\nlevel = \"MUST\"\nsays = \"a\"\n";

    #[test]
    fn a_row_may_say_how_to_break_it() {
        let good = format!("{ROW}code = \"a::b\"\ntest = \"c::d\"\nchange = 'f(\"x\"); ==> '\n");
        let rows = parse("rfc0", &good).unwrap();
        let expected = ("f(\"x\");".to_owned(), String::new());
        assert_eq!(rows[0].change, Some(expected));
        assert!(parse("rfc0", &good.replace("==>", "->")).is_err());
    }

    #[test]
    fn a_row_has_code_and_test_or_an_exception() {
        let rows = [
            ("code = \"a.rs::b\"\ntest = \"c.rs::d\"\n", true),
            (
                "code = \"a.rs::b\"\ntests = [\"c.rs::d\", \"e.txt: f, g\"]\n",
                true,
            ),
            ("exception = \"because\"\n", true),
            ("code = \"a.rs::b\"\n", false),
            ("", false),
            (
                "code = \"a.rs::b\"\ntest = \"c.rs::d\"\nexception = \"x\"\n",
                false,
            ),
            ("exception = 'single'\n", false),
            ("reason = \"x\"\n", false),
        ];
        for (rest, good) in rows {
            assert_eq!(
                parse("rfc0", &format!("{ROW}{rest}")).is_ok(),
                good,
                "{rest}"
            );
        }
        let two = parse(
            "rfc0",
            &format!("{ROW}code = \"a::b\"\ntests = [\"c\", \"d: e\"]\n"),
        )
        .unwrap();
        assert_eq!(two[0].tests, ["c", "d: e"]);
        assert!(parse("rfc0", "section = \"1\"\n").is_err());
        assert!(
            parse(
                "rfc0",
                "[[row]]\nsection = \"1\"\nlevel = \"MAY\"\nsays = \"a\"\nexception = \"b\"\n"
            )
            .is_err()
        );
    }
}
