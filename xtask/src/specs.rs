//! `cargo xtask specs`: every requirement in `specs/*.toml` points to code and test that exist, or says why there
//! is none; with `--mutate` each is shown to bite. It never judges whether the words are right: people do.

pub(crate) mod mutate;
mod place;
mod rows;

use std::collections::BTreeMap;

use crate::sh::Result;
use crate::tree;
use rows::Row;

/// `cargo xtask specs [--mutate [--again] [--minutes N]]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let rows = rows::read(&tree::root().join("specs"))?;
    println!("{}", check(&rows)?);
    if words.contains(&"--mutate") {
        return mutate::job(&rows, words);
    }
    Ok(())
}

/// The count of rows when all places exist.
pub(crate) fn check(rows: &[Row]) -> Result<String> {
    let faults: Vec<String> = rows.iter().flat_map(faults).collect();
    if !faults.is_empty() {
        return Err(format!("{} places are wrong:\n{}", faults.len(), faults.join("\n")).into());
    }
    Ok(count(rows))
}

fn faults(row: &Row) -> Vec<String> {
    let root = tree::root();
    let code = row
        .code
        .iter()
        .filter_map(|code| place::code(root, code).err());
    let tests = row
        .tests
        .iter()
        .filter_map(|test| place::test(root, test).err());
    let change = row
        .change
        .as_ref()
        .zip(row.code.as_ref())
        .and_then(|((was, _), code)| place::line(root, code, was).err());
    code.chain(tests)
        .chain(change)
        .map(|why| format!("{}: {why}", row.place))
        .collect()
}

fn count(rows: &[Row]) -> String {
    let mut table: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for row in rows {
        let counts = table.entry(&row.rfc).or_default();
        counts[0] += 1;
        counts[1] += usize::from(row.exception.is_none());
        counts[2] += usize::from(row.exception.is_some());
    }
    let line = |(rfc, [all, kept, excepted]): (&&str, &[usize; 3])| {
        format!("{rfc}: {all} requirements, {kept} with code and test, {excepted} exceptions")
    };
    table.iter().map(line).collect::<Vec<_>>().join("\n")
}
