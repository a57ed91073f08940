//! Facts about the tree that a machine can check: layers, unsafe places, module docs, pure crates, links, the drawn
//! tree, what must not be in it. Taste stays with people; it never changes a file.

mod drawing;
mod layers;
mod links;
mod rows;
mod source;
mod strays;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sh::{self, Result};
use crate::steps::Count;
use crate::tree;

/// `cargo xtask tidy`
pub(crate) fn job() -> Result<()> {
    let count = run()?;
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        Ok(())
    } else {
        Err("the tree is not tidy".into())
    }
}

/// Every check is one test; each fault is printed.
pub(crate) fn run() -> Result<Count> {
    let files = Files::read(tree::root())?;
    let checks: [(&str, Vec<String>); 11] = [
        (
            "dependencies point down, siblings never meet",
            layers::faults(tree::metadata()),
        ),
        ("unsafe only in mask.rs", source::unsafe_faults(&files)),
        (
            "crate roots forbid unsafe",
            source::root_faults(&files, tree::metadata()),
        ),
        ("every file says what it is", source::doc_faults(&files)),
        (
            "proto and hub have no clock, socket, thread or chance",
            source::purity_faults(&files),
        ),
        (
            "every future of the library says its cancel safety",
            source::cancel_faults(&files),
        ),
        (
            "links between documents lead somewhere",
            links::faults(&files),
        ),
        (
            "the tree in ARCHITECTURE.md is the tree on disk",
            drawing::faults(&files),
        ),
        (
            "no machine's paths, no registry's hosts",
            strays::faults(&files),
        ),
        (
            "every row of the guard's threats has its tests",
            rows::faults(&files),
        ),
        (
            "the npm lock names no registry",
            strays::lock_faults(&files),
        ),
    ];
    let mut count = Count::default();
    for (name, faults) in checks {
        println!("{} {name}", if faults.is_empty() { "ok  " } else { "FAIL" });
        for fault in &faults {
            println!("     {fault}");
        }
        count += Count::one(faults.is_empty());
    }
    Ok(count)
}

/// The project's text files: tracked ones and new ones that are not ignored.
struct Files {
    root: PathBuf,
    /// Path from the root, with `/`, and content.
    texts: Vec<(String, String)>,
}

impl Files {
    fn read(root: &Path) -> Result<Self> {
        let words = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let list = sh::must(Command::new("git").args(words).current_dir(root))?;
        let mut paths: Vec<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        // What can't be read as text is a picture, or was deleted and not yet committed so.
        let text = |path: &str| Some((path.to_owned(), fs::read_to_string(root.join(path)).ok()?));
        Ok(Self {
            root: root.to_owned(),
            texts: paths.into_iter().filter_map(text).collect(),
        })
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.texts
            .iter()
            .find(|(name, _)| name == path)
            .map(|(_, text)| text.as_str())
    }

    /// Files with this ending below one of these folders.
    fn below<'a>(
        &'a self,
        folders: &'a [&str],
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let chosen = move |path: &str| {
            path.ends_with(ending) && folders.iter().any(|folder| path.starts_with(folder))
        };
        self.texts
            .iter()
            .filter(move |(path, _)| chosen(path))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    #[cfg(test)]
    fn of(texts: &[(&str, &str)]) -> Self {
        let texts = texts
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        Self {
            root: PathBuf::from("/nowhere"),
            texts,
        }
    }
}
