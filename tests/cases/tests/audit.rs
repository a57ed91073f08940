//! The rows that `tidegate check` asks servers are copies of the table's: this fails when one differs, and with
//! `TIDEGATE_WRITE=1` writes them anew.

use std::path::Path;
use tidegate_cases::{Case, Ending, Expect, Stage, cases};
use tidegate_proto::Role;

#[test]
fn what_check_asks_is_what_the_table_says() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/tidegate-cli/src/check/cases.txt");
    let text = std::fs::read_to_string(&file).expect("the rows of check");
    let lines: Vec<String> = text.lines().map(renewed).collect();
    let renewed = lines.join("\n") + "\n";
    if std::env::var_os("TIDEGATE_WRITE").is_some() {
        std::fs::write(&file, &renewed).expect("the rows can be written");
    } else if let Some((is, should)) = text.lines().zip(renewed.lines()).find(|(a, b)| a != b) {
        panic!("{is}\nshould be\n{should}\n(TIDEGATE_WRITE=1 writes it)");
    }
}

/// A line with what the table says of its case.
fn renewed(line: &str) -> String {
    let parts: Vec<&str> = line.split(" | ").collect();
    let [finding, name, ..] = parts[..] else {
        return line.to_owned();
    };
    if line.starts_with('#') {
        return line.to_owned();
    }
    let of_that_name = |case: &&Case| case.role == Role::Server && case.name == name;
    let case = cases().iter().find(of_that_name);
    let case = case.unwrap_or_else(|| panic!("no row judges servers under the name {name:?}"));
    assert!(
        case.is_only_octets() && case.settings.is_default(),
        "{name}"
    );
    let octets = match case.stage {
        Stage::Handshake => case.octets().escape_ascii().to_string(),
        Stage::Open => case
            .octets()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect(),
    };
    format!("{finding} | {name} | {octets} | {}", expected(case))
}

/// The status or close code that must come of it; 0 where anything but a 101 will do.
fn expected(case: &Case) -> u16 {
    let one = |expect: &Expect| match expect {
        Expect::Answer(status, _) => Some(*status),
        Expect::Plain => Some(0),
        Expect::Ends(Ending::Fail { code, .. }) => Some(*code),
        Expect::Ends(Ending::Peer(code, _)) => *code,
        _ => None,
    };
    let found = case.expected.iter().find_map(one);
    found.unwrap_or_else(|| panic!("{} ends in no code", case.name))
}
