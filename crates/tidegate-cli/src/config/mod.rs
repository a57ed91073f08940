//! The configuration: one TOML file, overridden by the environment. It reads and locates faults; it opens no
//! socket and starts nothing.

mod environment;
mod file;
mod hub;

pub(crate) use file::File;
pub(crate) use tidegate_guard::written::Secret;

use crate::error::{Exit, Failure};
use std::path::{Path, PathBuf};
use tidegate_guard::written;

/// A configuration that was read: the tables, and where they came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// The file and its text; none when there is only the environment.
    source: Option<Source>,
    /// What it says, the environment's overrides included.
    pub(crate) file: File,
}

#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    text: String,
}

impl Config {
    /// Reads the file, if one is given, and what the environment says otherwise.
    ///
    /// # Errors
    /// The first fault, with its line and column or its variable.
    pub(crate) fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, Failure> {
        let source = path.map(read).transpose()?;
        let text = source.as_ref().map_or("", |source| source.text.as_str());
        let file = parse(source.as_ref(), text)?;
        let file = environment::apply(file, text, environment)?;
        Ok(Config { source, file })
    }

    /// A configuration out of a text, as if it stood in a file of that name.
    #[cfg(test)]
    pub(crate) fn of_text(name: &str, text: &str) -> Result<Config, Failure> {
        let source = Source {
            path: name.into(),
            text: text.to_owned(),
        };
        let file = parse(Some(&source), text)?;
        Ok(Config {
            source: Some(source),
            file,
        })
    }

    /// The file, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.path.as_path())
    }

    /// A fault in what a key says, with its place if the file has the key.
    pub(crate) fn fault(&self, key: &[&str], what: impl std::fmt::Display) -> Failure {
        let name = key.join(".");
        let found = self
            .source
            .as_ref()
            .and_then(|source| Some((source, written::of_key(&source.text, key)?)));
        match found {
            Some((source, range)) => {
                Failure::usage(source.place(range.start, &format!("{name}: {what}")))
            }
            None => Failure::usage(format!("configuration: {name}: {what}")),
        }
    }

    /// Files named in the configuration are relative to it, so that it means the same from everywhere.
    pub(crate) fn resolve(&self, file: &Path) -> PathBuf {
        let folder = self.path().and_then(Path::parent);
        folder.map_or_else(|| file.to_owned(), |folder| folder.join(file))
    }

    /// A secret that stands in a file of its own.
    ///
    /// # Errors
    /// The key with the file, when it cannot be read or is empty.
    pub(crate) fn secret_file(&self, key: &[&str], file: &Path) -> Result<Vec<Secret>, Failure> {
        let path = self.resolve(file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            self.fault(key, format!("{} cannot be read: {error}", path.display()))
        })?;
        let secrets: Vec<Secret> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(Secret::new)
            .collect();
        if secrets.is_empty() {
            return Err(self.fault(key, format!("{} is empty", path.display())));
        }
        Ok(secrets)
    }
}

impl Source {
    /// `file:line:column: what`, the form that editors and terminals jump to.
    fn place(&self, at: usize, what: &str) -> String {
        let (line, column) = written::line_and_column(&self.text, at);
        format!("{}:{line}:{column}: {what}", self.path.display())
    }
}

fn read(path: &Path) -> Result<Source, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Source {
            path: path.to_owned(),
            text,
        }),
        Err(error) => Err(Failure {
            exit: Exit::Usage,
            line: format!("{}: cannot be read: {error}", path.display()),
        }),
    }
}

fn parse(source: Option<&Source>, text: &str) -> Result<File, Failure> {
    toml::from_str(text).map_err(|error| {
        let what = written::explain(&error);
        match source {
            Some(source) => {
                let at = error.span().map_or(0, |span| span.start);
                Failure::usage(source.place(at, &what))
            }
            None => Failure::usage(format!("configuration: {what}")),
        }
    })
}

#[cfg(test)]
mod tests;
