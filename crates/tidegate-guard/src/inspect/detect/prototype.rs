//! Prototype pollution in texts. Members named `__proto__`, and `prototype` inside of `constructor`, are judged by the
//! inspector, which sees the names.

use super::{Rule, rule};

pub(super) const RULES: &[Rule] = &[
    rule(
        "prototype-path",
        "a path through an object's prototype",
        (5, 3),
        r#"__proto__\s*(?:[\[.\]"':=/]|$)|constructor\s*(?:\.|\[\s*["'\x60]?|\]\s*\[)\s*prototype"#,
        "a.__proto__.b",
    ),
    rule(
        "prototype-set",
        "a member of an object's prototype is set",
        (5, 5),
        r#"__proto__["'\]]*\s*(?:\[|\.)\s*["']?\w+["'\]]*\s*=|["']?__proto__["']?\s*:\s*[{\["']|(?:^|[?&#"'/])(?:__proto__[\[./]|constructor[\[./]prototype)|constructor\]?\s*[\[.]\s*["'\x60]?prototype["'\x60\]]*\s*[\[.]\s*["'\x60]?\w+["'\x60\]]*\s*=[^=]|\[\s*["']__proto__["']\s*\]|object\.prototype\.\w+\s*=[^=]|__define[sg]etter__"#,
        "__proto__[admin]=1",
    ),
];
