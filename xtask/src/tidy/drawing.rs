//! The tree drawn in ARCHITECTURE.md against the disk: what is drawn must be there, and every crate must be drawn.
//! Descriptions are prose and never read, but for file names beside a folder.

use super::Files;

pub(super) fn faults(files: &Files) -> Vec<String> {
    let Some(text) = files.get("ARCHITECTURE.md") else {
        return vec!["there is no ARCHITECTURE.md".to_owned()];
    };
    let drawn = drawn_paths(text);
    if drawn.is_empty() {
        return vec![
            "ARCHITECTURE.md has no drawn tree: a code block that begins with `tidegate/`"
                .to_owned(),
        ];
    }
    let missing = drawn
        .iter()
        .filter(|path| !exists(files, path))
        .map(|path| format!("{path} is drawn but not there"));
    let undrawn = crates(files).into_iter().filter(|name| {
        !drawn
            .iter()
            .any(|path| path.starts_with(&format!("crates/{name}")))
    });
    missing
        .chain(undrawn.map(|name| format!("crates/{name} is not drawn")))
        .collect()
}

fn exists(files: &Files, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    files.get(path).is_some()
        || files
            .texts
            .iter()
            .any(|(name, _)| name.starts_with(&folder))
        || files.root.join(path).exists()
}

fn crates(files: &Files) -> Vec<String> {
    let manifests = files.below(&["crates/"], "/Cargo.toml");
    manifests
        .filter_map(|(path, _)| {
            Some(
                path.strip_prefix("crates/")?
                    .strip_suffix("/Cargo.toml")?
                    .to_owned(),
            )
        })
        .collect()
}

/// Every path in the drawing, from the repository's root.
fn drawn_paths(text: &str) -> Vec<String> {
    let mut lines = text
        .lines()
        .skip_while(|line| line.trim() != "tidegate/")
        .skip(1);
    let mut paths = Vec::new();
    let mut folders: Vec<String> = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.starts_with("```")) {
        let Some(start) = line.find(|c: char| !"│├└─ ".contains(c)) else {
            continue;
        };
        let depth = (line[..start].chars().count() / 4).saturating_sub(1);
        folders.truncate(depth);
        let (names, beside) = line[start..]
            .split_once("  ")
            .unwrap_or((&line[start..], ""));
        let parent = folders.concat();
        for name in names
            .split(' ')
            .filter(|name| is_path(name))
            .flat_map(spelled_out)
        {
            paths.push(format!("{parent}{name}"));
        }
        if names.ends_with('/') && !names.contains(' ') {
            folders.resize(depth, String::new());
            folders.push(names.to_owned());
            let folder = folders.concat();
            paths.extend(
                beside
                    .split_whitespace()
                    .filter(|word| is_path(word))
                    .flat_map(spelled_out)
                    .map(|name| format!("{folder}{name}")),
            );
        }
    }
    paths
}

/// A word that names a file or a folder, as against prose.
fn is_path(word: &str) -> bool {
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/{},".contains(c));
    let name = word.trim_end_matches('/');
    let file = name.contains('.') && !name.ends_with('.') || name.starts_with("LICENSE");
    plain
        && !name.is_empty()
        && !name.starts_with(['.', '/']) | name.starts_with(".ci") | name.starts_with(".cargo")
        && (file || word.ends_with('/'))
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn spelled_out(word: &str) -> Vec<String> {
    let braces = word
        .split_once('{')
        .and_then(|(left, rest)| Some((left, rest.split_once('}')?)));
    match braces {
        Some((left, (names, right))) => names
            .split(',')
            .map(|name| format!("{left}{name}{right}"))
            .collect(),
        None => vec![word.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, drawn_paths, faults};

    const DRAWING: &str = "```\ntidegate/\n├── README.md LICENSE-MIT\n├── crates/\n│   ├── a/src/     what the bytes mean\n│   │   ├── b.rs c.rs     B · C\n\
                           │   │   └── d/         mod.rs (D) e.rs codec/{f,g}.rs\n│   └── h/src/\n│       └── i.rs\n└── web/  demo/ · plain modules, no build step\n```\n";

    #[test]
    fn the_drawing_is_read_as_paths() {
        let expected = [
            "README.md",
            "LICENSE-MIT",
            "crates/",
            "crates/a/src/",
            "crates/a/src/b.rs",
            "crates/a/src/c.rs",
            "crates/a/src/d/",
            "crates/a/src/d/mod.rs",
            "crates/a/src/d/e.rs",
            "crates/a/src/d/codec/f.rs",
            "crates/a/src/d/codec/g.rs",
            "crates/h/src/",
            "crates/h/src/i.rs",
            "web/",
            "web/demo/",
        ];
        assert_eq!(drawn_paths(DRAWING), expected);
    }

    #[test]
    fn what_is_drawn_and_not_there_is_a_fault_and_so_is_a_crate_not_drawn() {
        let there: Vec<(String, String)> = drawn_paths(DRAWING)
            .into_iter()
            .filter(|path| !path.ends_with('/') && !path.ends_with("c.rs"))
            .map(|path| (path, String::new()))
            .collect();
        let mut texts: Vec<(&str, &str)> =
            there.iter().map(|(path, _)| (path.as_str(), "")).collect();
        texts.extend([
            ("ARCHITECTURE.md", DRAWING),
            ("crates/z/Cargo.toml", ""),
            ("web/demo/x.js", ""),
        ]);
        assert_eq!(
            faults(&Files::of(&texts)),
            [
                "crates/a/src/c.rs is drawn but not there",
                "crates/z is not drawn"
            ]
        );
    }
}
