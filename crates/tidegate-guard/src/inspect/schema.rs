//! [`Schemas`]: messages that keep to JSON Schema 2020-12, in both directions. A member of the message says which schema is
//! meant. No file and no URL is ever read for a schema, and no schema is taken whose checking has no bound.

mod bounds;

use super::inspector::Direction;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The schemas of one direction, as a policy gives them.
///
/// ```toml
/// [content.schema.to-server]          # or to-client
/// discriminator = "/type"             # the member that says which schema is meant; none: the default for all
/// strict = true                       # objects that list their properties have no others
/// default = "schemas/any.json"        # for messages whose type has none; none: such a message is refused
/// [content.schema.to-server.types]
/// chat = "schemas/chat.json"
/// ```
///
/// The policy reads the files: here are their texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchemaRules {
    /// A JSON pointer. Default: none, so that `default` is meant by every message.
    pub discriminator: Option<String>,
    /// The schema's text by the discriminator's value.
    pub types: BTreeMap<String, String>,
    /// The schema's text for every other message. Default: none, such a message is refused.
    pub default: Option<String>,
    /// Closes objects: where a schema lists `properties` and says nothing of others, there are none. Default: no.
    pub strict: bool,
}

/// A schema that is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadSchema {
    /// The discriminator's value whose schema it is; empty for the default.
    pub name: String,
    /// What is wrong with it, and where.
    pub why: String,
}

impl fmt::Display for BadSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "the default schema: {}", self.why),
            name => write!(f, "the schema of {name:?}: {}", self.why),
        }
    }
}

impl std::error::Error for BadSchema {}

/// Schemas, compiled.
#[derive(Debug, Default)]
pub struct Schemas {
    to_server: Option<OneWay>,
    to_client: Option<OneWay>,
}

#[derive(Debug)]
struct OneWay {
    discriminator: Option<String>,
    types: BTreeMap<String, Compiled>,
    default: Option<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    validator: Validator,
    /// Deeper messages are not checked: it would take too long.
    max_depth: usize,
}

impl Schemas {
    /// These with the schemas of a direction.
    ///
    /// # Errors
    /// The first schema that is not valid, refers to something outside of itself, or has no bound.
    pub fn with(mut self, direction: Direction, rules: &SchemaRules) -> Result<Schemas, BadSchema> {
        let one = |name: &str, text: &String| {
            compile(text, rules.strict).map_err(|why| BadSchema {
                name: name.to_owned(),
                why,
            })
        };
        let types = rules.types.iter();
        let types: Result<_, BadSchema> = types
            .map(|(name, text)| Ok((name.clone(), one(name, text)?)))
            .collect();
        let default = rules
            .default
            .as_ref()
            .map(|text| one("", text))
            .transpose()?;
        let way = OneWay {
            discriminator: rules.discriminator.clone(),
            types: types?,
            default,
        };
        match direction {
            Direction::ToServer => self.to_server = Some(way),
            Direction::ToClient => self.to_client = Some(way),
        }
        Ok(self)
    }

    /// Checks a message; where it differs and from what, when it does.
    pub(crate) fn check(
        &self,
        direction: Direction,
        message: &[u8],
    ) -> Result<(), (String, String)> {
        let way = match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        };
        way.as_ref().map_or(Ok(()), |way| way.check(message))
    }
}

impl OneWay {
    fn check(&self, message: &[u8]) -> Result<(), (String, String)> {
        let fault = |why: &str| (String::new(), why.to_owned());
        let value: Value =
            serde_json::from_slice(message).map_err(|_| fault("a message that is JSON"))?;
        let named = self.discriminator.as_ref().map(|at| value.pointer(at));
        let schema = match named {
            Some(Some(Value::String(name))) => self.types.get(name),
            _ => None,
        };
        let Some(schema) = schema.or(self.default.as_ref()) else {
            let at = self.discriminator.clone().unwrap_or_default();
            return Err((at, "a type that has a schema".to_owned()));
        };
        if deeper_than(&value, schema.max_depth) {
            let why = format!("no more than {} levels", schema.max_depth);
            return Err((String::new(), why));
        }
        schema.validator.validate(&value).map_err(|error| {
            let pointer = plain(error.instance_path().as_str());
            let why = format!("{} at {}", error.kind().keyword(), error.schema_path());
            (pointer, plain(&why))
        })
    }
}

/// One line, and no longer than a log wants it: members' names are an attacker's words.
fn plain(text: &str) -> String {
    let symbols = text.chars().filter(|symbol| !symbol.is_control());
    symbols.take(200).collect()
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => return false,
    };
    levels == 0 || inner.any(|value| deeper_than(value, levels - 1))
}

fn compile(text: &str, strict: bool) -> Result<Compiled, String> {
    if text.len() > LARGEST {
        return Err(format!("it is larger than {LARGEST} octets"));
    }
    let mut schema: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let max_depth = bounds::depth(&schema)?;
    if strict {
        close(&mut schema);
    }
    let patterns = PatternOptions::regex()
        .size_limit(LARGEST_PATTERN)
        .dfa_size_limit(LARGEST_PATTERN);
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .offline()
        .build(&schema)
        .map_err(|error| error.to_string())?;
    Ok(Compiled {
        validator,
        max_depth,
    })
}

/// Closes the objects that list their properties. A schema inside of `allOf` and its like sees only a part of an object:
/// it stays as it is, and the one around it is closed by what none of them evaluated.
fn close(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    let says = |word: &str| members.contains_key(word);
    let lists = says("properties") || says("allOf") || says("anyOf") || says("oneOf");
    let open = !says("additionalProperties") && !says("unevaluatedProperties") && !says("$ref");
    for (word, inner) in members.iter_mut() {
        match (word.as_str(), inner) {
            ("properties" | "patternProperties" | "$defs", Value::Object(each)) => {
                each.values_mut().for_each(close);
            }
            ("items" | "contains" | "additionalProperties", inner) => close(inner),
            ("prefixItems", Value::Array(each)) => each.iter_mut().for_each(close),
            ("allOf" | "anyOf" | "oneOf", Value::Array(each)) => {
                each.iter_mut().for_each(close_inside);
            }
            _ => {}
        }
    }
    if lists && open {
        members.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
    }
}

/// Closes what stands below a part of an object, and not the part.
fn close_inside(schema: &mut Value) {
    close(schema);
    if let Value::Object(members) = schema {
        if members.get("unevaluatedProperties") == Some(&Value::Bool(false)) {
            members.remove("unevaluatedProperties");
        }
    }
}

/// Octets of a schema.
const LARGEST: usize = 256 << 10;

/// Octets that a pattern may take when it is compiled.
const LARGEST_PATTERN: usize = 1 << 20;

#[cfg(test)]
mod tests;
