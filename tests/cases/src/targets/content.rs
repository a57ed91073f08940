//! A guard's inspection of content: it never panics, says the same twice, lets nothing through that serde reads and it did
//! not, and what it masks stays what it was: text stays text, JSON stays JSON.

use std::cell::RefCell;
use tidegate_guard::{Direction, Inspector, Kind, Mode, Rules, Verdict};

thread_local! {
    static INSPECTORS: RefCell<[Inspector; 2]> = RefCell::new([
        inspector(&Rules::default().set("leak", Mode::Mask)),
        inspector(&Rules::with_mode(Mode::Off).set("json", Mode::Block)),
    ]);
}

fn inspector(rules: &Rules) -> Inspector {
    Inspector::new(rules).expect("rules that are valid")
}

/// Takes any octets.
pub(super) fn run(data: &[u8]) {
    INSPECTORS.with_borrow_mut(|[watching, strict]| {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let verdict = watching.inspect(direction, Kind::Binary, data);
            let again = watching.inspect(direction, Kind::Text, data);
            assert_eq!(verdict, again, "nothing is left of the message before");
            match verdict {
                Verdict::Replace(masked, _) => keeps_its_form(data, &masked),
                Verdict::Block(finding) => panic!("nothing blocks: {finding:?}"),
                _ => {}
            }
        }
        let verdict = strict.inspect(Direction::ToServer, Kind::Text, data);
        let looks = matches!(data.trim_ascii().first(), Some(b'{'));
        let read = serde_json::from_slice::<serde_json::Value>(data).is_ok();
        assert!(
            !looks || read || verdict != Verdict::Pass,
            "no JSON, and it passed as such"
        );
    });
}

fn keeps_its_form(message: &[u8], masked: &[u8]) {
    if std::str::from_utf8(message).is_ok() {
        assert!(std::str::from_utf8(masked).is_ok(), "text stays text");
    }
    let is_json = |octets: &[u8]| serde_json::from_slice::<serde_json::Value>(octets).is_ok();
    assert!(!is_json(message) || is_json(masked), "JSON stays JSON");
}
