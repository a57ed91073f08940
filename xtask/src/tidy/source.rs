//! What Rust files must and must not hold: a first line that says what they are, no unsafe but in one place, nothing
//! impure in the pure crates. Reads text, never parses Rust; a string over several lines would fool it.

use serde_json::Value;

use super::Files;

const RUST: &[&str] = &["crates/", "xtask/", "tests/", "fuzz/"];
const MASK: &[&str] = &[
    "crates/tidegate-proto/src/mask.rs",
    "crates/tidegate-proto/src/mask/",
];
const PURE: &[&str] = &[
    "crates/tidegate-proto/src/",
    "crates/tidegate-hub/src/",
    "crates/tidegate-guard/src/",
];

/// Words that let a clock, a socket, a thread or chance into a crate that is given all of these.
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "getrandom",
    "thread_rng",
    "RandomState",
    "std::thread",
    "thread::spawn",
    "thread::sleep",
    "std::fs",
    "std::process",
    "std::env",
    "std::io::stdin",
    "tokio",
    "mio",
];

pub(super) fn doc_faults(files: &Files) -> Vec<String> {
    let bad = |text: &str| !text.starts_with("//! ");
    files
        .below(RUST, ".rs")
        .filter(|(_, text)| bad(text))
        .map(|(path, _)| format!("{path} does not begin with `//! `"))
        .collect()
}

pub(super) fn unsafe_faults(files: &Files) -> Vec<String> {
    let elsewhere = files
        .below(RUST, ".rs")
        .filter(|(path, _)| !MASK.iter().any(|mask| path.starts_with(mask)));
    hits(elsewhere, |code| {
        has_word(code, "unsafe").then_some("unsafe")
    })
}

/// Each crate root forbids unsafe, but for tidegate-proto's, which has the mask.
pub(super) fn root_faults(files: &Files, metadata: &Value) -> Vec<String> {
    let root = files.root.to_string_lossy();
    let list = |value: &'static str| {
        move |parent: &Value| parent[value].as_array().cloned().unwrap_or_default()
    };
    let packages = list("packages")(metadata)
        .into_iter()
        .filter(|package| package["name"] != "tidegate-proto");
    let targets = packages.flat_map(|package| list("targets")(&package));
    let roots = targets.filter(|target| {
        list("kind")(target)
            .iter()
            .any(|kind| kind == "lib" || kind == "bin")
    });
    let paths = roots.filter_map(|target| {
        Some(
            target["src_path"]
                .as_str()?
                .strip_prefix(&*root)?
                .trim_start_matches('/')
                .to_owned(),
        )
    });
    let forbids = |path: &String| {
        files
            .get(path)
            .is_some_and(|text| text.contains("#![forbid(unsafe_code)]"))
    };
    paths
        .filter(|path| !forbids(path))
        .map(|path| format!("{path} has no #![forbid(unsafe_code)]"))
        .collect()
}

pub(super) fn purity_faults(files: &Files) -> Vec<String> {
    let tests = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let pure = files.below(PURE, ".rs").filter(|(path, _)| !tests(path));
    hits(pure, |code| {
        IMPURE.iter().copied().find(|word| has_word(code, word))
    })
}

/// Each public future of the library says what becomes of it when it is dropped.
pub(super) fn cancel_faults(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files.below(&["crates/tidegate/src/"], ".rs") {
        let lines: Vec<&str> = text.lines().map(str::trim).take(code_lines(text)).collect();
        for (at, line) in lines.iter().enumerate() {
            let future = is_future(&lines[at..]) || is_named_future(line, text);
            if future && !says_cancel_safety(&lines[..at]) {
                let name = line.split('(').next().unwrap_or_default();
                faults.push(format!("{path}:{}: {name}", at + 1));
            }
        }
    }
    faults
}

/// A public function that begins here gives a future.
fn is_future(lines: &[&str]) -> bool {
    let last = lines.iter().position(|line| line.ends_with('{'));
    let signature = &lines[..=last.unwrap_or(0)];
    lines[0].starts_with("pub async fn ")
        || lines[0].starts_with("pub fn ")
            && signature.iter().any(|line| line.contains("-> impl Future"))
}

/// A public type that begins here is a future.
fn is_named_future(line: &str, text: &str) -> bool {
    let name = line.strip_prefix("pub struct ").and_then(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    });
    name.is_some_and(|name| text.contains(&format!(" Future for {name}")))
}

/// The comment above the last line has the heading.
fn says_cancel_safety(above: &[&str]) -> bool {
    let own = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let mut comment = above.iter().rev().take_while(own);
    comment.any(|line| *line == "/// # Cancel safety")
}

/// Lines of code, tests at the foot left out, in which `find` finds something.
fn hits<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)>,
    find: impl Fn(&str) -> Option<&'static str>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files {
        for (number, line) in text.lines().enumerate().take(code_lines(text)) {
            if let Some(word) = find(&code_of(line)) {
                faults.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    faults
}

/// A line without its comment and its strings.
fn code_of(line: &str) -> String {
    let plain = line.replace("\\\"", "");
    let outside: Vec<&str> = plain.split('"').step_by(2).collect();
    outside
        .join("\"\"")
        .split("//")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// How many lines come before the tests at the foot.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let foot = lines.windows(2).position(|pair| {
        let tests = pair[0] == "#[cfg(test)]" || pair[0].starts_with("#[cfg(all(test, ");
        tests && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    foot.unwrap_or(lines.len())
}

/// True when `word` stands in the line and is no part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part_of_name);
        let after = line[at + word.len()..]
            .chars()
            .next()
            .is_some_and(part_of_name);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::{Files, cancel_faults, doc_faults, purity_faults, unsafe_faults};

    #[test]
    fn a_file_without_its_sentence_is_found() {
        let files = Files::of(&[
            ("crates/a/src/lib.rs", "//! A crate.\n"),
            ("crates/a/src/b.rs", "use x;\n"),
            ("web/c.rs", ""),
        ]);
        assert_eq!(
            doc_faults(&files),
            ["crates/a/src/b.rs does not begin with `//! `"]
        );
    }

    #[test]
    fn unsafe_is_found_everywhere_but_in_the_mask() {
        let block = concat!(
            "//! x\n#![forbid(unsafe_code)]\n// unsafe to say\nlet a = un",
            "safe { b };\n"
        );
        let files = Files::of(&[
            ("crates/tidegate-proto/src/mask.rs", block),
            ("crates/tidegate/src/lib.rs", block),
        ]);
        assert_eq!(
            unsafe_faults(&files),
            ["crates/tidegate/src/lib.rs:4: unsafe"]
        );
    }

    #[test]
    fn a_clock_is_found_in_a_pure_crate_but_not_in_its_tests() {
        let text = "//! x\nfn f() { Instant::now() }\n// Instant\nstruct InstantLike;\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n";
        let files = Files::of(&[
            ("crates/tidegate-hub/src/a.rs", text),
            ("crates/tidegate/src/a.rs", text),
        ]);
        assert_eq!(
            purity_faults(&files),
            ["crates/tidegate-hub/src/a.rs:2: Instant"]
        );
    }

    #[test]
    fn a_future_that_does_not_say_what_its_drop_does_is_found() {
        let said = "/// Waits.\n///\n/// # Cancel safety\n/// Safe.\n";
        let text = format!(
            "//! x\n{said}#[inline]\npub async fn a() {{}}\n/// Waits.\npub async fn b() {{}}\n{said}pub fn c(\n) -> impl Future {{\n\
             pub fn d(\n    e: u8,\n) -> impl Future {{\npub fn f() {{\npub(crate) async fn g() {{}}\n\
             pub struct H(u8);\nimpl Future for H {{\npub struct I(u8);\n"
        );
        let files = Files::of(&[
            ("crates/tidegate/src/a.rs", &*text),
            ("crates/tidegate-cli/src/a.rs", &*text),
        ]);
        let found = [
            "crates/tidegate/src/a.rs:9: pub async fn b",
            "crates/tidegate/src/a.rs:16: pub fn d",
            "crates/tidegate/src/a.rs:21: pub struct H",
        ];
        assert_eq!(cancel_faults(&files), found);
    }
}
