//! Whether the checking of a schema has a bound, before it is compiled: references stay inside, none leads back to itself
//! without going into the message, and where a recursion doubles, messages may only be so deep.

use serde_json::Value;
use std::collections::BTreeMap;

/// How deep a message may be that is checked against the schema.
pub(super) fn depth(schema: &Value) -> Result<usize, String> {
    let mut graph = Graph {
        schema,
        ways: BTreeMap::new(),
        inner: BTreeMap::new(),
        into: BTreeMap::new(),
    };
    graph.visit(schema, String::new(), 0)?;
    let places: Vec<String> = graph.inner.keys().cloned().collect();
    let mut most = 1;
    for place in &places {
        graph.ways(place, 0)?;
    }
    for place in &places {
        most = most.max(graph.doubling(place));
    }
    Ok(if most <= 1 {
        DEEPEST
    } else {
        MOST_WAYS.ilog(most) as usize
    })
}

struct Graph<'a> {
    schema: &'a Value,
    /// How many schemas a value at that place is checked against, itself included; none while it is being counted.
    ways: BTreeMap<String, Option<usize>>,
    /// Schemas that the same value is checked against.
    inner: BTreeMap<String, Vec<String>>,
    /// Schemas that parts of the value are checked against: which part, and the schema.
    into: BTreeMap<String, Vec<(String, String)>>,
}

impl Graph<'_> {
    /// Notes a schema and all that stand inside of it.
    fn visit(&mut self, schema: &Value, at: String, level: usize) -> Result<(), String> {
        if level > MOST_LEVELS || self.inner.len() > MOST_SCHEMAS {
            return Err("it is too deep or has too many schemas".to_owned());
        }
        let mut same = Vec::new();
        let mut parts = Vec::new();
        let Value::Object(members) = schema else {
            self.inner.insert(at, same);
            return Ok(());
        };
        for (word, value) in members {
            let here = format!("{at}/{word}");
            match (word.as_str(), value) {
                ("$ref", Value::String(target)) => same.push(self.target(target)?),
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(format!("{word} at {at:?} is not supported: write the $ref"));
                }
                ("$id", _) if !at.is_empty() => {
                    return Err(format!("$id at {at:?} is not supported: use #/$defs"));
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(each)) => {
                    for (index, inner) in each.iter().enumerate() {
                        same.push(format!("{here}/{index}"));
                        self.visit(inner, format!("{here}/{index}"), level + 1)?;
                    }
                }
                ("not" | "if" | "then" | "else", inner) => {
                    same.push(here.clone());
                    self.visit(inner, here, level + 1)?;
                }
                ("dependentSchemas", Value::Object(each)) => {
                    for (name, inner) in each {
                        let place = format!("{here}/{}", escaped(name));
                        same.push(place.clone());
                        self.visit(inner, place, level + 1)?;
                    }
                }
                (
                    "properties" | "patternProperties" | "$defs" | "definitions",
                    Value::Object(each),
                ) => {
                    for (name, inner) in each {
                        let place = format!("{here}/{}", escaped(name));
                        if word == "properties" {
                            parts.push((name.clone(), place.clone()));
                        } else if word == "patternProperties" {
                            parts.push((String::new(), place.clone()));
                        }
                        self.visit(inner, place, level + 1)?;
                    }
                }
                ("prefixItems", Value::Array(each)) => {
                    for (index, inner) in each.iter().enumerate() {
                        let place = format!("{here}/{index}");
                        parts.push((String::new(), place.clone()));
                        self.visit(inner, place, level + 1)?;
                    }
                }
                (
                    "items"
                    | "contains"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "unevaluatedItems"
                    | "propertyNames"
                    | "contentSchema",
                    inner,
                ) => {
                    parts.push((String::new(), here.clone()));
                    self.visit(inner, here, level + 1)?;
                }
                _ => {}
            }
        }
        self.inner.insert(at.clone(), same);
        self.into.insert(at, parts);
        Ok(())
    }

    /// The place that a reference names.
    fn target(&self, reference: &str) -> Result<String, String> {
        let fault = |why: &str| Err(format!("$ref {reference:?} {why}"));
        let Some(pointer) = reference.strip_prefix('#') else {
            return fault("leads outside of the schema: nothing is ever fetched");
        };
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return fault("names an anchor: use #/$defs");
        }
        if pointer.contains('%') || self.schema.pointer(pointer).is_none() {
            return fault("names nothing in the schema");
        }
        Ok(pointer.to_owned())
    }

    fn ways(&mut self, at: &str, level: usize) -> Result<usize, String> {
        match self.ways.get(at) {
            Some(Some(ways)) => return Ok(*ways),
            Some(None) => return Err(format!("the references at {at:?} lead back to themselves")),
            None if level > MOST_LEVELS => return Err(format!("too many references at {at:?}")),
            None => {}
        }
        let Some(inner) = self.inner.get(at).cloned() else {
            return Err(format!("what a $ref names is no schema: {at:?}"));
        };
        self.ways.insert(at.to_owned(), None);
        let mut ways = 1usize;
        for place in &inner {
            ways = ways.saturating_add(self.ways(place, level + 1)?);
        }
        if ways > MOST_IN_PLACE {
            return Err(format!(
                "a value at {at:?} is checked against {ways} schemas"
            ));
        }
        self.ways.insert(at.to_owned(), Some(ways));
        Ok(ways)
    }

    /// In how many ways the same part of a value leads back here; parts by pattern or place count for all.
    fn doubling(&self, at: &str) -> usize {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut open = vec![at];
        while let Some(place) = open.pop() {
            open.extend(
                self.inner
                    .get(place)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
            for (part, inner) in self.into.get(place).into_iter().flatten() {
                if self.leads(inner, at) {
                    *counts.entry(part).or_default() += 1;
                }
            }
        }
        let any = counts.remove("").unwrap_or(0);
        counts.values().max().copied().unwrap_or(0) + any
    }

    fn leads(&self, from: &str, to: &str) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![from];
        while let Some(place) = open.pop() {
            if place == to {
                return true;
            }
            if seen.insert(place) {
                open.extend(
                    self.inner
                        .get(place)
                        .into_iter()
                        .flatten()
                        .map(String::as_str),
                );
                let into = self.into.get(place).into_iter().flatten();
                open.extend(into.map(|(_, inner)| inner.as_str()));
            }
        }
        false
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Schemas in a document; checking their bounds takes time with the square of it.
const MOST_SCHEMAS: usize = 1_000;
/// Of schemas inside of each other, and of references after each other.
const MOST_LEVELS: usize = 64;
/// Schemas that one value is checked against.
const MOST_IN_PLACE: usize = 1_000;
/// Messages as deep as a walk lets in by default.
const DEEPEST: usize = 64;
/// Ways through a recursion that doubles.
const MOST_WAYS: usize = 100_000;
