//! NoSQL injection: operators where a value belongs, and JavaScript for a `$where`. Operators as members' names are judged
//! by the inspector, which sees the names.

use super::{Rule, rule};

/// Names of members that a query language takes for operators.
pub(crate) fn is_operator(key: &[u8]) -> bool {
    key.strip_prefix(b"$")
        .is_some_and(|name| OPERATORS.contains(&name))
}

const OPERATORS: &[&[u8]] = &[
    b"ne",
    b"eq",
    b"gt",
    b"gte",
    b"lt",
    b"lte",
    b"in",
    b"nin",
    b"or",
    b"and",
    b"not",
    b"nor",
    b"regex",
    b"options",
    b"where",
    b"exists",
    b"type",
    b"expr",
    b"mod",
    b"all",
    b"size",
    b"elemMatch",
    b"text",
    b"search",
    b"jsonSchema",
    b"function",
    b"accumulator",
    b"lookup",
    b"set",
    b"unset",
    b"rename",
    b"push",
    b"pull",
    b"inc",
    b"slice",
    b"comment",
    b"near",
    b"geoWithin",
    b"merge",
    b"out",
    b"func",
    b"code",
];

pub(super) const RULES: &[Rule] = &[
    rule(
        "nosql-operator",
        "an operator in brackets, as query strings spell it",
        (5, 5),
        r"\[\$(?:ne|eq|gte?|lte?|n?in|regex|exists|where|or|and|not|nor|options|size|all|type|mod)\]",
        "user[$ne]=x",
    ),
    rule(
        "nosql-object",
        "an object that is an operator",
        (5, 2),
        r#"[{,]\s*["']?\$(?:ne|eq|gte?|lte?|n?in|regex|exists|where|or|and|not|nor|expr|mod|all|elemmatch|func|accumulator|function|lookup|jsonschema)["']?\s*:"#,
        "{$gt: ''}",
    ),
    rule(
        "nosql-object-probe",
        "an operator that matches everything",
        (5, 5),
        r#"\{\s*["']?\$(?:gte?|ne|nin|exists|regex|lt|lte|eq|in|not)["']?\s*:\s*(?:''|""|null|undefined|-?[01]\b|true|\[\s*\]|["']?\.[*+]|["'](?:\^|\.\*|a|1|-1|x|foo|admin)["']?|\{\s*\}|/\.)|["']?\$where["']?\s*:"#,
        "{\"$gt\": \"\"}",
    ),
    rule(
        "nosql-where",
        "JavaScript that ends a query's literal",
        (5, 5),
        r#"["'][\s)}]*(?:;|\|\||&&)\s*(?:return\b|sleep\s*\(|while\s*\(|var\s|this\.\w|it=|d=new|\(?function|db\.|!?\(?['"]?\d['"]?\s*===?\s*['"]?\d|['"]\w*['"]?\s*===?\s*['"])|\bthis\.\w+\s*(?:\.match\s*\(|[!=]==?\s*["'/\d(]|\.length\b|\[)|;\s*return\s+(?:true|1|this|!?\()|\bdb\.(?:\w+\.(?:find|drop|insert|remove|update|count|save|stats)|getcollectionnames|dropdatabase|version|adminc\w+|hostinfo)\s*\(|\$where\s*[:=]|date\(\)\s*;\s*do\s*\{|\}\s*,\s*\$or\s*:|mapreduce\s*\("#,
        "'; return true; var x='",
    ),
];
