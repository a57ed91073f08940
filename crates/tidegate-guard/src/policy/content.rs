//! What a policy says of messages: the tables `[rules]`, `[schema]` and `[behaviour]`, and what they mean. The
//! vocabulary is the inspection's own; a schema's text comes from whoever reads files.

#[cfg(feature = "schema")]
use super::table::Placed;
use super::values::Pointer;
use crate::behaviour::{BehaviourRules, Failures, KindRate, Members, Order, Replay};
use crate::inspect::rate::Rate;
use crate::inspect::rules::{BadRules, can_mask, names};
use crate::written::{Size, Span};
use crate::{Mode, Rules, Scope};
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::time::Duration;

/// `[rules]`: a mode for all, what the inspection may take, and each rule's or family's name as a key.
#[derive(Clone, Debug, Default)]
pub(super) struct RulesTable {
    mode: Option<Mode>,
    free_text: Option<Vec<String>>,
    plain_text: Option<Scope>,
    budget: Option<Size>,
    /// By their place in [`NUMBERS`].
    numbers: [Option<usize>; NUMBERS.len()],
    each: BTreeMap<String, Mode>,
}

/// Keys whose value is a number.
const NUMBERS: [&str; 6] = [
    "max_layers",
    "max_depth",
    "max_nodes",
    "max_keys",
    "max_key_length",
    "max_number_length",
];

/// A route's word on a rule, then its word on all rules, then the policy's in the same order.
pub(super) fn rules(all: &RulesTable, own: &RulesTable) -> Rules {
    let mut rules = Rules::default();
    for table in [all, own] {
        if let Some(mode) = table.mode {
            rules.mode = mode;
            rules.modes.clear();
        }
        // Families first: what stands beside them about one of their rules is narrower, and counts.
        let is_family = |name: &String| names().any(|known| known.family == *name);
        let (families, single): (Vec<_>, Vec<_>) =
            table.each.iter().partition(|(name, _)| is_family(name));
        for (name, mode) in families.into_iter().chain(single) {
            rules.say(name, *mode);
        }
        if let Some(names) = &table.free_text {
            rules.free_text = names.iter().map(|name| name.to_lowercase()).collect();
        }
        rules.plain_text = table.plain_text.unwrap_or(rules.plain_text);
        rules.budget = table.budget.map_or(rules.budget, |size| size.0);
        let json = &mut rules.json;
        let places = [
            &mut rules.max_layers,
            &mut json.max_depth,
            &mut json.max_nodes,
            &mut json.max_keys,
            &mut json.max_key_length,
            &mut json.max_number_length,
        ];
        for (place, said) in places.into_iter().zip(table.numbers) {
            *place = said.unwrap_or(*place);
        }
    }
    rules
}

enum RuleKey {
    Mode,
    FreeText,
    PlainText,
    Budget,
    Number(usize),
    Rule(String),
}

impl<'de> Deserialize<'de> for RuleKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RuleKey, D::Error> {
        let name = String::deserialize(from)?;
        if let Some(number) = NUMBERS.iter().position(|known| *known == name) {
            return Ok(RuleKey::Number(number));
        }
        match name.as_str() {
            "mode" => Ok(RuleKey::Mode),
            "free_text" => Ok(RuleKey::FreeText),
            "plain_text" => Ok(RuleKey::PlainText),
            "budget" => Ok(RuleKey::Budget),
            known if names().any(|rule| rule.id == known || rule.family == known) => {
                Ok(RuleKey::Rule(name))
            }
            // serde's own words, which `written` knows how to shorten.
            other => Err(D::Error::custom(format!(
                "unknown field `{other}`, expected one of {}",
                known_keys()
            ))),
        }
    }
}

/// Families and not each of their rules: a list of all is too long to be read.
fn known_keys() -> String {
    let mut families: Vec<&str> = names().map(|rule| rule.family).collect();
    families.sort_unstable();
    families.dedup();
    let fixed = ["mode", "free_text", "plain_text", "budget"];
    let all = fixed.into_iter().chain(NUMBERS).chain(families);
    let quoted: Vec<String> = all.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The mode of this rule or family, or of all.
struct ModeOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for ModeOf<'_> {
    type Value = Mode;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Mode, D::Error> {
        match Mode::deserialize(from)? {
            Mode::Mask if !can_mask(self.0) => {
                let why = BadRules::NothingToMask(self.0.to_owned());
                Err(D::Error::custom(why))
            }
            mode => Ok(mode),
        }
    }
}

impl<'de> Deserialize<'de> for RulesTable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RulesTable, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RulesTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of rules")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RulesTable, A::Error> {
                let mut table = RulesTable::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        RuleKey::Mode => table.mode = Some(map.next_value_seed(ModeOf("mode"))?),
                        RuleKey::FreeText => table.free_text = Some(map.next_value()?),
                        RuleKey::PlainText => table.plain_text = Some(map.next_value()?),
                        RuleKey::Budget => table.budget = Some(map.next_value()?),
                        RuleKey::Number(number) => table.numbers[number] = Some(map.next_value()?),
                        RuleKey::Rule(name) => {
                            let mode = map.next_value_seed(ModeOf(&name))?;
                            table.each.insert(name, mode);
                        }
                    }
                }
                Ok(table)
            }
        }
        from.deserialize_map(Reader)
    }
}

/// `[schema]`: a direction's table of a route stands in the place of the policy's.
#[cfg(feature = "schema")]
pub(super) mod schema {
    use super::Placed;
    use crate::policy::values::Pointer;
    use crate::written::Fault;
    use crate::{Direction, SchemaRules, Schemas};
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::path::{Path, PathBuf};
    use toml::Spanned;

    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub(in crate::policy) struct SchemaTable {
        to_server: Placed<WayTable>,
        to_client: Placed<WayTable>,
    }

    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct WayTable {
        discriminator: Option<Pointer>,
        strict: bool,
        default: Option<Spanned<PathBuf>>,
        types: BTreeMap<String, Spanned<PathBuf>>,
    }

    /// The schemas of a route, read and found to be such.
    pub(in crate::policy) fn of(
        all: &SchemaTable,
        own: &SchemaTable,
        read: &dyn Fn(&Path) -> Result<String, String>,
        fault: &dyn Fn(&Range<usize>, String) -> Fault,
    ) -> Result<Vec<(Direction, SchemaRules)>, Fault> {
        let ways = [
            (Direction::ToServer, &own.to_server, &all.to_server),
            (Direction::ToClient, &own.to_client, &all.to_client),
        ];
        let mut schemas = Vec::new();
        for (direction, own, all) in ways {
            let Some(placed) = own.as_ref().or(all.as_ref()) else {
                continue;
            };
            let table = placed.get_ref();
            if let Some(what) = table.contradiction() {
                return Err(fault(&placed.span(), what.to_owned()));
            }
            let rules = table.read(read, fault)?;
            Schemas::default()
                .with(direction, &rules)
                .map_err(|bad| fault(&table.place(&bad.name), one_line(&bad.to_string())))?;
            schemas.push((direction, rules));
        }
        Ok(schemas)
    }

    impl WayTable {
        fn contradiction(&self) -> Option<&'static str> {
            match (self.types.is_empty(), &self.discriminator, &self.default) {
                (true, _, None) => Some(
                    "a schema needs default = \"FILE\", or types = { NAME = \"FILE\" } and discriminator = \"/MEMBER\"",
                ),
                (false, None, _) => Some(
                    "types need discriminator = \"/MEMBER\", which says of which type a message is",
                ),
                _ => None,
            }
        }

        fn read(
            &self,
            read: &dyn Fn(&Path) -> Result<String, String>,
            fault: &dyn Fn(&Range<usize>, String) -> Fault,
        ) -> Result<SchemaRules, Fault> {
            let text = |file: &Spanned<PathBuf>| {
                read(file.get_ref()).map_err(|why| {
                    let shown = file.get_ref().display();
                    fault(
                        &file.span(),
                        format!("{shown} cannot be read: {}", one_line(&why)),
                    )
                })
            };
            let types = self.types.iter();
            let types: Result<_, Fault> = types
                .map(|(name, file)| Ok((name.clone(), text(file)?)))
                .collect();
            Ok(SchemaRules {
                discriminator: self.discriminator.as_ref().map(|at| at.0.clone()),
                types: types?,
                default: self.default.as_ref().map(text).transpose()?,
                strict: self.strict,
            })
        }

        /// Where the file of a type stands; of no name, the default's.
        fn place(&self, name: &str) -> Range<usize> {
            let file = self.types.get(name).or(self.default.as_ref());
            file.map_or(0..0, Spanned::span)
        }
    }

    fn one_line(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// `[behaviour]`: a route's table stands in the place of the policy's, whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BehaviourTable {
    mode: Watch,
    type_at: Option<Pointer>,
    entries: Option<NonZero<u32>>,
    failures: Vec<FailuresTable>,
    members: Vec<MembersTable>,
    replay: Option<ReplayTable>,
    rates: Vec<KindRateTable>,
    order: Vec<OrderTable>,
}

/// A mode without a mask.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Watch {
    Off,
    #[default]
    Monitor,
    Block,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailuresTable {
    request: String,
    failure: OutcomeTable,
    limit: Option<NonZero<u32>>,
    window: Option<Span>,
    block: Option<Span>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeTable {
    at: Pointer,
    is: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersTable {
    at: Pointer,
    claim: String,
    limit: Option<NonZero<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayTable {
    id_at: Pointer,
    time_at: Option<Pointer>,
    window: Option<Span>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindRateTable {
    kind: String,
    per_second: NonZero<u32>,
    burst: NonZero<u32>,
    grace: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderTable {
    first: String,
    then: Vec<String>,
}

impl BehaviourTable {
    /// What of it cannot be.
    pub(super) fn contradiction(&self, has_auth: bool) -> Option<&'static str> {
        let many = |rule: &MembersTable| rule.limit.is_some_and(|limit| limit.get() > 32);
        let rows = [
            (
                !self.members.is_empty() && !has_auth,
                "members compare a message with a claim of the token, and there is no [auth] that asks for one",
            ),
            (
                self.members.iter().any(many),
                "the limit of members is at most 32 different names in a minute",
            ),
            (
                self.order.len() > 64,
                "there are at most 64 rules about the order",
            ),
            (
                self.entries.is_some_and(|entries| entries.get() > 1 << 22),
                "entries is at most 4194304: each takes about 170 octets, used or not",
            ),
        ];
        rows.into_iter()
            .find_map(|(wrong, what)| wrong.then_some(what))
    }

    /// Claims that must be kept of a token.
    pub(super) fn claims(&self) -> Vec<Box<str>> {
        let claims = self.members.iter().map(|rule| rule.claim.as_str().into());
        claims.collect()
    }

    pub(super) fn rules(&self) -> BehaviourRules {
        let default = BehaviourRules::default();
        let span =
            |said: &Option<Span>, seconds| said.map_or(Duration::from_secs(seconds), |span| span.0);
        let failures = self.failures.iter().map(|rule| Failures {
            request: rule.request.clone(),
            failure: (rule.failure.at.0.clone(), rule.failure.is.clone()),
            limit: rule.limit.map_or(30, NonZero::get),
            window: span(&rule.window, 60),
            block: span(&rule.block, 300),
        });
        let members = self.members.iter().map(|rule| Members {
            at: rule.at.0.clone(),
            claim: rule.claim.clone(),
            limit: rule.limit.map_or(20, NonZero::get),
        });
        let replay = self.replay.as_ref().map(|rule| Replay {
            id_at: rule.id_at.0.clone(),
            time_at: rule.time_at.as_ref().map(|at| at.0.clone()),
            window: span(&rule.window, 300),
        });
        let rates = self.rates.iter().map(|rule| KindRate {
            kind: rule.kind.clone(),
            rate: Rate::new(rule.per_second.get(), rule.burst.get()).expect("neither is 0"),
            grace: rule.grace.unwrap_or(20),
        });
        let order = self.order.iter().map(|rule| Order {
            first: rule.first.clone(),
            then: rule.then.clone(),
        });
        BehaviourRules {
            mode: match self.mode {
                Watch::Off => Mode::Off,
                Watch::Monitor => Mode::Monitor,
                Watch::Block => Mode::Block,
            },
            type_at: self
                .type_at
                .as_ref()
                .map_or(default.type_at, |at| at.0.clone()),
            entries: self.entries.map_or(default.entries, |n| n.get() as usize),
            failures: failures.collect(),
            members: members.collect(),
            replay,
            rates: rates.collect(),
            order: order.collect(),
        }
    }
}
