//! Messages against schemas, and schemas that are not taken.

use super::*;
use serde_json::json;

fn chat() -> SchemaRules {
    let schema = json!({
        "type": "object",
        "properties": {
            "type": {"const": "chat"},
            "text": {"type": "string", "maxLength": 10, "pattern": "^[a-z ]*$"},
            "to": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}}
        },
        "required": ["type", "text"]
    });
    SchemaRules {
        discriminator: Some("/type".to_owned()),
        types: BTreeMap::from([("chat".to_owned(), schema.to_string())]),
        ..SchemaRules::default()
    }
}

fn fault(rules: &SchemaRules, message: &str) -> String {
    let schemas = Schemas::default().with(Direction::ToServer, rules).unwrap();
    let other = schemas.check(Direction::ToClient, message.as_bytes());
    assert_eq!(other, Ok(()), "no schema for that way");
    match schemas.check(Direction::ToServer, message.as_bytes()) {
        Ok(()) => "ok".to_owned(),
        Err((pointer, why)) => format!("{pointer}: {why}"),
    }
}

#[test]
fn a_message_keeps_to_the_schema_of_its_type() {
    for (message, expected) in [
        (r#"{"type":"chat","text":"hi"}"#, "ok"),
        (r#"{"type":"chat","text":"hi","role":"admin"}"#, "ok"),
        (r#"{"type":"chat"}"#, ": required at /required"),
        (
            r#"{"type":"chat","text":1}"#,
            "/text: type at /properties/text/type",
        ),
        (
            r#"{"type":"chat","text":"A"}"#,
            "/text: pattern at /properties/text/pattern",
        ),
        (
            r#"{"type":"cat","text":"hi"}"#,
            "/type: a type that has a schema",
        ),
        ("[]", "/type: a type that has a schema"),
        ("{", ": a message that is JSON"),
    ] {
        assert_eq!(fault(&chat(), message), expected, "{message}");
    }
}

#[test]
fn strict_objects_have_no_other_members() {
    let strict = SchemaRules {
        strict: true,
        ..chat()
    };
    assert_eq!(fault(&strict, r#"{"type":"chat","text":"hi"}"#), "ok");
    let extra = fault(&strict, r#"{"type":"chat","text":"hi","role":"admin"}"#);
    assert_eq!(extra, ": unevaluatedProperties at /unevaluatedProperties");
    let inner = fault(
        &strict,
        r#"{"type":"chat","text":"hi","to":[{"id":1,"x":2}]}"#,
    );
    assert!(inner.starts_with("/to/0: unevaluatedProperties"), "{inner}");
    let parts = json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]});
    let parts = SchemaRules {
        default: Some(parts.to_string()),
        strict: true,
        ..SchemaRules::default()
    };
    assert_eq!(fault(&parts, r#"{"a":1,"b":2}"#), "ok");
    assert_ne!(fault(&parts, r#"{"a":1,"c":2}"#), "ok");
}

#[test]
fn schemas_without_a_bound_are_not_taken() {
    let bomb = |levels: usize| {
        let mut defs = serde_json::Map::new();
        for level in 0..levels {
            let next = format!("#/$defs/{}", level + 1);
            defs.insert(
                level.to_string(),
                json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
            );
        }
        defs.insert(levels.to_string(), json!(true));
        json!({"$defs": defs, "$ref": "#/$defs/0"})
    };
    for (schema, why) in [
        (json!({"$ref": "#"}), "lead back"),
        (
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            "lead back",
        ),
        (json!({"$ref": "http://127.0.0.1:9/x"}), "outside"),
        (json!({"$ref": "file:///etc/passwd"}), "outside"),
        (json!({"properties": {"a": {"$ref": "#anchor"}}}), "anchor"),
        (json!({"$ref": "#/$defs/none"}), "names nothing"),
        (
            json!({"properties": {"a": {"$dynamicRef": "#x"}}}),
            "not supported",
        ),
        (json!({"properties": {"a": {"$id": "x"}}}), "not supported"),
        (json!({"type": "strong"}), "strong"),
        (json!({"pattern": "("}), "regex"),
        (json!({"pattern": "((a{1000}){1000}){100}"}), "regex"),
        (bomb(20), "checked against"),
    ] {
        let rules = SchemaRules {
            default: Some(schema.to_string()),
            ..SchemaRules::default()
        };
        let fault = Schemas::default()
            .with(Direction::ToClient, &rules)
            .unwrap_err();
        assert!(fault.to_string().contains(why), "{schema}: {fault}");
    }
}

#[test]
fn a_recursion_that_doubles_bounds_the_messages() {
    let depth = |schema: Value| bounds::depth(&schema).unwrap();
    assert_eq!(
        depth(json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}})),
        64
    );
    let doubles = json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
    assert_eq!(depth(doubles.clone()), 16);
    let rules = SchemaRules {
        default: Some(doubles.to_string()),
        ..SchemaRules::default()
    };
    let deep = r#"{"a":"#.repeat(30) + "1" + &"}".repeat(30);
    assert_eq!(fault(&rules, &deep), ": no more than 16 levels");
}

#[test]
fn a_pattern_of_the_worst_kind_takes_no_time() {
    let rules = SchemaRules {
        default: Some(json!({"pattern": "^(a+)+$"}).to_string()),
        ..SchemaRules::default()
    };
    let message = format!("\"{}!\"", "a".repeat(60_000));
    assert_eq!(fault(&rules, &message), ": pattern at /pattern");
}
