//! The Autobahn cases against `tidegate serve` and against a client on the protocol core, plain and through TLS.
//! Never takes a case that did not run for a good one.

mod cases;
mod children;
mod engine;
mod roles;
mod summary;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use cases::Preset;
use engine::Engine;
pub(crate) use roles::Role;
use roles::Run;

use crate::server;
use crate::setup;
use crate::sh::Result;
use crate::steps::{Count, Steps};
use crate::{interop, tree};

/// What to run, and against what.
#[derive(Clone)]
struct Options {
    roles: Vec<Role>,
    /// Plain, TLS or both.
    tls: Vec<bool>,
    preset: Preset,
    engine: Engine,
    /// How many processes share the cases.
    shards: usize,
    /// A server that runs already, instead of our own.
    url: Option<String>,
    /// Only the case with this id, or those that begin with it.
    only: Option<String>,
}

/// `cargo xtask conformance`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let options = Options::read(words)?;
    let mut count = Count::default();
    for role in &options.roles {
        for tls in options.tls.clone() {
            count += options.run(*role, tls, None, Kept::Write)?;
        }
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        Ok(())
    } else {
        Err("conformance: not every case is good".into())
    }
}

/// The steps of `cargo xtask test`: a selection in every role with what any machine can run, and with `full` all
/// cases, through TLS too, the two roles of the product with the reference where it exists. Then the kept summaries must be what is seen.
pub(crate) fn steps(steps: &mut Steps, binary: &Path, full: bool) {
    let engine = match full && setup::ensure("wstest").is_ok() {
        true => Engine::Wstest,
        false => Engine::Kosoku,
    };
    let options = Options {
        roles: Role::ALL.to_vec(),
        tls: if full { vec![false, true] } else { vec![false] },
        preset: if full { Preset::Full } else { Preset::Ci },
        engine,
        shards: SHARDS,
        url: None,
        only: None,
    };
    steps.run("conformance, both engines agree", engines_agree);
    for role in Role::ALL {
        for tls in options.tls.clone() {
            let name = format!("conformance, {}", role.with(tls));
            interop::step(steps, &name, &["python"], || {
                options.run(role, tls, Some(binary), Kept::Compare)
            });
        }
    }
    // Through the guard: with compression on always, the others in the long form.
    let through: &[Role] = match full {
        true => &Role::GUARD,
        false => &[Role::Guard],
    };
    for role in through {
        let options = Options {
            engine: Engine::Kosoku,
            ..options.clone()
        };
        for tls in options.tls.clone() {
            let name = format!("conformance, {}", role.with(tls));
            interop::step(steps, &name, &["python"], || {
                options.run(*role, tls, Some(binary), Kept::Compare)
            });
        }
    }
    // The same core below another face: the engine that every machine has is enough.
    let options = Options {
        engine: Engine::Kosoku,
        ..options
    };
    for role in Role::ASYNC {
        for tls in options.tls.clone() {
            let name = format!("conformance, {}", role.with(tls));
            interop::step(steps, &name, &["python"], || {
                options.run(role, tls, None, Kept::Compare)
            });
        }
    }
}

/// Whether what is examined is our program.
fn needs_binary(role: Role) -> bool {
    role == Role::Server || Role::GUARD.contains(&role)
}

/// What to do with the summary of a whole run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Write,
    Compare,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            roles: Role::ALL.to_vec(),
            tls: vec![false],
            preset: Preset::Ci,
            engine: Engine::Kosoku,
            shards: SHARDS,
            url: None,
            only: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match *word {
                "--full" => {
                    options.preset = Preset::Full;
                    options.tls = vec![false, true];
                }
                "--role" => options.roles = Role::read(value()?)?,
                "--plain" => options.tls = vec![false],
                "--tls" => options.tls = vec![true],
                "--cases" => {
                    let name = value()?;
                    options.preset = Preset::read(name)
                        .ok_or(format!("no cases {name}; there are core, ci and full"))?;
                }
                "--engine" => options.engine = Engine::read(value()?)?,
                "--shards" => options.shards = value()?.parse()?,
                "--only" => {
                    options.only = Some((*value()?).to_owned());
                    options.preset = Preset::Full;
                }
                "--url" => {
                    options.url = Some((*value()?).to_owned());
                    options.roles = vec![Role::Server];
                }
                _ => return Err(format!("conformance: unknown word {word}").into()),
            }
        }
        Ok(options)
    }

    fn cases(&self) -> Vec<String> {
        let begins =
            |case: &String, only: &String| case == only || case.starts_with(&format!("{only}."));
        let mut cases = self.preset.cases();
        cases.retain(|case| self.only.as_ref().is_none_or(|only| begins(case, only)));
        cases
    }

    /// One role, one way of transport.
    fn run(&self, role: Role, tls: bool, binary: Option<&Path>, kept: Kept) -> Result<Count> {
        let mut cases = self.cases();
        cases.retain(|case| role.takes(case));
        if cases.is_empty() {
            return Err("no such case".into());
        }
        let name = role.with(tls);
        let folder = format!("{}-{name}", self.engine.folder());
        let out = tree::target().join("conformance").join(folder);
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out)?;
        let built = match binary {
            Some(binary) => binary.to_owned(),
            None if needs_binary(role) && self.url.is_none() => server::build(false)?,
            None => PathBuf::new(),
        };
        let run = Run {
            engine: self.engine,
            tls,
            hands: role.deal(&cases, self.shards),
            binary: built,
            url: self.url.clone(),
            out,
            limit: LIMIT,
        };
        let verdict = run.verdict(role, &cases)?;
        let whom = self.url.clone().unwrap_or_else(|| role.title(tls));
        let title = format!("Autobahn|Testsuite, {} cases, {whom}", cases.len());
        let body = summary::text(&verdict, &title);
        let text = format!("by {}\n{body}", self.engine.name());
        print!("{name}, {text}");
        fs::write(run.out.join("summary.txt"), &text)?;
        let mut count = Count {
            passed: verdict.good(),
            failed: verdict.bad(),
        };
        let whole = self.preset == Preset::Full && self.only.is_none() && self.url.is_none();
        if whole && !keep(&name, &text, &body, self.engine, kept)? {
            count.failed = count.failed.max(1);
        }
        Ok(count)
    }
}

/// Compares a summary with the one in the tree, or writes it. One that is not there yet is told: its cases are judged
/// all the same.
fn keep(name: &str, text: &str, body: &str, engine: Engine, kept: Kept) -> Result<bool> {
    let file = kept_file(engine, name);
    let found = fs::read_to_string(&file).unwrap_or_default();
    match kept {
        Kept::Write => fs::write(&file, text)?,
        Kept::Compare if found.is_empty() => {
            println!("{}: NOT COMPARED, nothing is kept yet", file.display());
        }
        Kept::Compare if body_of(&found) != body => {
            println!(
                "{} is not what this run says; `cargo xtask conformance --full` writes it anew",
                file.display()
            );
            return Ok(false);
        }
        Kept::Compare => {}
    }
    Ok(true)
}

/// What is kept of both engines must be the same, word for word, but for the line that says who wrote it. A summary
/// that the reference has not written yet is told, and compared with nothing.
fn engines_agree() -> Result<Count> {
    let mut count = Count::default();
    for role in Role::ALL {
        for tls in [false, true] {
            let name = role.with(tls);
            let kosoku = fs::read_to_string(kept_file(Engine::Kosoku, &name))?;
            let Ok(wstest) = fs::read_to_string(kept_file(Engine::Wstest, &name)) else {
                println!("{name}: NOT COMPARED, nothing is kept of wstest");
                continue;
            };
            let same = say_the_same(&kosoku, &wstest);
            println!(
                "{name}: kosoku and wstest {}",
                if same { "agree" } else { "DIFFER" }
            );
            count += Count::one(same);
        }
    }
    Ok(count)
}

fn say_the_same(one: &str, other: &str) -> bool {
    !body_of(one).is_empty() && body_of(one) == body_of(other)
}

/// A kept summary without the line that names its engine.
fn body_of(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, body)| body)
}

fn kept_file(engine: Engine, name: &str) -> PathBuf {
    let folder = tree::root().join("tests/conformance").join(engine.folder());
    folder.join(format!("{name}.txt"))
}

/// One for each core of a small machine.
const SHARDS: usize = 2;
/// A run takes a minute or ten; this is for one that hangs.
const LIMIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::{Options, Preset, Role, say_the_same};

    #[test]
    fn a_case_is_chosen_by_its_id_or_by_what_it_begins_with() {
        let chosen = |only| Options::read(&["--only", only]).unwrap().cases().len();
        assert_eq!(
            (chosen("7.1"), chosen("7.1.5"), chosen("1"), chosen("99")),
            (6, 1, 16, 0)
        );
    }

    #[test]
    fn only_the_name_of_the_engine_may_differ() {
        assert!(say_the_same("by a\nall 517\n", "by b\nall 517\n"));
        assert!(!say_the_same("by a\nall 517\n", "by b\nall 516\n"));
        assert!(!say_the_same("", ""));
    }

    #[test]
    fn words_choose_roles_transport_and_cases() {
        let all = Options::read(&["--full"]).unwrap();
        assert_eq!((all.roles.len(), all.tls.len()), (2, 2));
        assert_eq!(all.cases().len(), 517);
        let one = Options::read(&["--role", "client", "--tls", "--cases", "core"]).unwrap();
        assert_eq!((one.roles, one.tls), (vec![Role::Client], vec![true]));
        let async_face = Options::read(&["--role", "async"]).unwrap();
        assert_eq!(async_face.roles, Role::ASYNC);
        assert_eq!(one.preset, Preset::Core);
        assert!(Options::read(&["--role", "observer"]).is_err());
        assert!(Options::read(&["--cases"]).is_err());
    }
}
