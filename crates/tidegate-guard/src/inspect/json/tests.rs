//! One row a case: what the walk tells of it.

use super::*;

/// What the walk told, in order: leaves with their pointers, faults with an exclamation mark.
struct Told(Vec<String>);

impl Sink for Told {
    fn leaf(&mut self, leaf: Leaf<'_>) -> bool {
        let text = String::from_utf8_lossy(leaf.text);
        let sign = match leaf.place {
            Place::Key => "#",
            Place::Text => "=",
            Place::Number => "~",
            Place::Word => "?",
        };
        self.0.push(format!("{}{sign}{text}", leaf.path.pointer()));
        true
    }

    fn fault(&mut self, fault: Fault, path: Path<'_>) -> bool {
        self.0.push(format!("{}!{fault:?}", path.pointer()));
        true
    }
}

fn told(message: &[u8]) -> Vec<String> {
    let limits = JsonLimits {
        max_depth: 3,
        max_nodes: 20,
        max_key_length: 8,
        max_keys: 14,
        max_number_length: 8,
    };
    let mut told = Told(Vec::new());
    walk(message, &limits, &mut Scratch::default(), &mut told);
    told.0
}

#[test]
fn the_walk_tells_each_leaf_and_each_fault() {
    let many = format!(
        "{{{}}}",
        (0..13).map(|i| format!("\"{i}\":0,")).collect::<String>() + "\"07\":0"
    );
    for (message, expected) in [
        (
            r#"{"a":{"b":["x",2,true,null]}}"#,
            "/a#a /a/b#b /a/b/0=x /a/b/1~2 /a/b/2?true /a/b/3?null",
        ),
        (r#"  "x"  "#, "=x"),
        ("12", "~12"),
        ("{}", ""),
        ("[[],{}]", ""),
        (r#"{"a/b":1,"~":"y"}"#, "/a~1b#a/b /a~1b~1 /~0#~ /~0=y"),
        (r#"["\u0041\n\ud83d\ude00"]"#, "/0=A\n😀"),
        (r#"["\ud83d"]"#, "/0!Surrogate /0=\u{fffd}"),
        (r#"["\ud83d\u0041"]"#, "/0!Surrogate /0=\u{fffd}A"),
        (r#"["\ude00x"]"#, "/0!Surrogate /0=\u{fffd}x"),
        (
            r#"{"a":1,"\u0061":2}"#,
            "/a#a /a~1 /a#a /a~2 /a!DuplicateKey",
        ),
        (r#"{"a":{"a":1},"b":1}"#, "/a#a /a/a#a /a/a~1 /b#b /b~1"),
        (
            r#"{"a":{"a":1,"a":1}}"#,
            "/a#a /a/a#a /a/a~1 /a/a#a /a/a~1 /a/a!DuplicateKey",
        ),
        (
            r#"{"123456789":1}"#,
            "/123456789!KeyLength /123456789#123456789 /123456789~1",
        ),
        ("1e309", "!Number ~1e309"),
        ("123456789", "!Number ~123456789"),
        ("-0.5e-3", "~-0.5e-3"),
        ("[[[1]]]", "/0/0/0~1"),
        ("[[[[1]]]]", "/0/0/0!Depth"),
        ("\u{feff}{}", "!Bom"),
    ] {
        assert_eq!(told(message.as_bytes()).join(" "), expected, "{message}");
    }
    let faults = told(many.as_bytes());
    assert_eq!(
        faults.last().map(String::as_str),
        Some("/9!Nodes"),
        "{faults:?}"
    );
}

#[test]
fn what_is_not_json_ends_the_walk() {
    for message in [
        "",
        " ",
        "{",
        "[",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{,}",
        "[1 2]",
        "01",
        "1.",
        "-",
        ".5",
        "1e",
        "+1",
        "tru",
        "nulll",
        "\"a",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\ud800\\u\"",
        "{} {}",
        "{a:1}",
        "'a'",
        "[1]x",
        "{\"a\" 1}",
        "{\"a\":1,\"\\x\":2}",
        "{\"a\":{\"b",
        "NaN",
        "[1}",
        "{\"a\":1]",
        "// c\n1",
    ] {
        let told = told(message.as_bytes());
        let last = told
            .last()
            .map_or("", |last| last.rsplit('!').next().unwrap_or(""));
        assert_eq!(last, "Syntax", "{message}: {told:?}");
    }
    assert_eq!(told(b"[\"\xff\"]"), ["!Utf8"]);
}

#[test]
fn many_keys_are_compared_too() {
    let limits = JsonLimits::default();
    for (last, expected) in [("k500", true), ("other", false)] {
        let keys: String = (0..900).map(|i| format!("\"k{i}\":1,")).collect();
        let message = format!("{{{keys}\"{last}\":1}}");
        let mut told = Told(Vec::new());
        assert!(walk(
            message.as_bytes(),
            &limits,
            &mut Scratch::default(),
            &mut told
        ));
        let found = told.0.iter().any(|line| line == "/k500!DuplicateKey");
        assert_eq!(found, expected);
    }
}

#[test]
fn pointers_name_places() {
    struct At(Vec<bool>);
    impl Sink for At {
        fn leaf(&mut self, leaf: Leaf<'_>) -> bool {
            if leaf.place == Place::Text {
                self.0.push(leaf.path.is("/a~1b/1/c"));
            }
            true
        }
        fn fault(&mut self, _: Fault, _: Path<'_>) -> bool {
            true
        }
    }
    let mut at = At(Vec::new());
    let message = br#"{"a/b":["x",{"c":"y","d":"z"},{"c":"w"}],"c":"v"}"#;
    assert!(walk(
        message,
        &JsonLimits::default(),
        &mut Scratch::default(),
        &mut at
    ));
    assert_eq!(at.0, [false, true, false, false, false]);
}
