//! The table of the guard's threats: every row is there once, and every test that it names. Whether they pass is the tests'
//! matter.

use serde::Deserialize;

use super::Files;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    threat: String,
    default: String,
    outcome: String,
    tests: Vec<String>,
}

/// The groups of rows, and how many each has. M11 is another day's.
const GROUPS: [(&str, u32); 7] = [
    ("H", 18),
    ("F", 12),
    ("R", 12),
    ("M", 12),
    ("S", 5),
    ("T", 3),
    ("O", 5),
];
const TABLE: &str = "tests/guard/rows.toml";
/// Tests that start the real program stand here.
const PROCESSES: [&str; 2] = ["tests/guard/", "crates/tidegate-cli/tests/"];

pub(super) fn faults(files: &Files) -> Vec<String> {
    let text = files.get(TABLE).unwrap_or_default();
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(why) => return vec![format!("{TABLE}: {why}")],
    };
    let wanted: Vec<String> = GROUPS
        .iter()
        .flat_map(|(group, most)| (1..=*most).map(move |n| format!("{group}{n}")))
        .filter(|id| id != "M11")
        .collect();
    let count = |id: &str| table.row.iter().filter(|row| row.id == id).count();
    let mut faults: Vec<String> = wanted
        .iter()
        .filter(|id| count(id) != 1)
        .map(|id| format!("{TABLE}: {id} stands there {} times", count(id)))
        .collect();
    for row in &table.row {
        let fault = |why: String| format!("{TABLE}: {}: {why}", row.id);
        if !wanted.contains(&row.id) {
            faults.push(fault("there is no such row".into()));
        }
        if [&row.threat, &row.default, &row.outcome]
            .iter()
            .any(|text| text.is_empty())
        {
            faults.push(fault("something is not said".into()));
        }
        let by_process = |test: &String| PROCESSES.iter().any(|folder| test.starts_with(folder));
        if !row.tests.iter().any(by_process) {
            faults.push(fault("no test of it starts the program".into()));
        }
        let missing = row.tests.iter().filter(|test| !is_there(files, test));
        faults.extend(missing.map(|test| fault(format!("{test} is not there"))));
    }
    faults
}

/// `FILE: FUNCTION`.
fn is_there(files: &Files, test: &str) -> bool {
    let Some((file, function)) = test.split_once(": ") else {
        return false;
    };
    let text = files.get(file).unwrap_or_default();
    text.contains(&format!("fn {function}("))
}

#[cfg(test)]
mod tests {
    use super::{Files, TABLE, faults, is_there};

    #[test]
    fn a_test_is_there_by_its_name() {
        let files = Files::of(&[("tests/guard/a.rs", "#[test]\nfn h1_a_b() {}\n")]);
        assert!(is_there(&files, "tests/guard/a.rs: h1_a_b"));
        for other in [
            "tests/guard/a.rs: h1_a",
            "tests/guard/b.rs: h1_a_b",
            "h1_a_b",
        ] {
            assert!(!is_there(&files, other), "{other}");
        }
    }

    #[test]
    fn rows_that_are_missing_and_tests_that_are_not_there_are_faults() {
        let row = "[[row]]\nid = \"H1\"\nthreat = \"a\"\ndefault = \"b\"\noutcome = \"c\"\n\
                   tests = [\"tests/guard/a.rs: gone\"]\n";
        let found = faults(&Files::of(&[(TABLE, row)]));
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("gone is not there"))
        );
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("H2 stands there 0 times"))
        );
        assert!(!found.iter().any(|fault| fault.contains("H1 stands")));
        let twice = row.repeat(2);
        let found = faults(&Files::of(&[(TABLE, &twice)]));
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("H1 stands there 2 times"))
        );
    }
}
