//! [`Rules`]: what the content inspection does, as plain data; a [`BadRules`] says what is wrong with it.

use super::detect::{self, Scope};
use super::json::JsonLimits;
use super::leak::Leak;
use std::collections::BTreeMap;
use std::fmt;
use tidegate_proto::CloseCode;

/// What a rule's match leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The rule is not asked.
    Off,
    /// The message passes and a finding is told.
    #[default]
    Monitor,
    /// What was found is masked, the rest passes. Only for rules of the family `leak`.
    Mask,
    /// The message does not pass.
    Block,
}

impl Mode {
    /// Its name in the policy, in audit and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Monitor => "monitor",
            Mode::Mask => "mask",
            Mode::Block => "block",
        }
    }
}

/// What the content inspection looks for and what it does then.
///
/// In a policy file these are the keys of a table `rules`, together with the names of rules and families:
///
/// ```toml
/// [rules]
/// mode = "monitor"                    # what every rule does: off, monitor or block
/// free_text = ["text", "message"]     # members that carry prose
/// plain_text = "free"                 # messages that are not JSON: free or strict
/// max_layers = 3                      # encodings inside of each other that are looked into
/// budget = "2MiB"                     # octets that the automata may read for a message
/// max_depth = 32
/// max_nodes = 10000
/// max_key_length = 256
/// max_keys = 1000
/// max_number_length = 40
/// sqli = "block"                      # a family's or a rule's own mode
/// sqli-catalogue = "off"
/// leak-card = "mask"
/// json-required = "block"
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// What every rule does that is not named in `modes`; never [`Mode::Mask`]. Default: monitor.
    pub mode: Mode,
    /// By a rule's name, or by its family's; the rule's own wins. `json-required` and `binary` are off unless they
    /// are named here.
    pub modes: BTreeMap<String, Mode>,
    /// Names of members that carry prose, in which people may quote code; lower case, compared without case.
    /// Default: [`FREE_TEXT`].
    pub free_text: Vec<String>,
    /// How a message is judged that is not JSON. Default: as prose.
    pub plain_text: Scope,
    /// How large a message's JSON may be.
    pub json: JsonLimits,
    /// Encodings inside of each other that are looked into. Default: 3. Cost: a text with that many is read that
    /// many times.
    pub max_layers: usize,
    /// Octets that the automata may read for one message; what is beyond is the finding `overlimit`. Default: 2 MiB,
    /// which is about thirty times the largest message that a guard lets in by default.
    pub budget: usize,
}

/// Members that carry prose where nothing else is said.
pub const FREE_TEXT: &[&str] = &[
    "text",
    "message",
    "msg",
    "body",
    "content",
    "comment",
    "description",
    "bio",
    "title",
    "note",
    "notes",
    "caption",
    "code",
    "snippet",
    "markdown",
    "chat",
    "reply",
    "post",
    "summary",
    "topic",
    "question",
    "answer",
    "about",
    "status",
    "subject",
    "reason",
    "prompt",
    "say",
];

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            mode: Mode::Monitor,
            modes: BTreeMap::new(),
            free_text: FREE_TEXT.iter().map(|&name| name.to_owned()).collect(),
            plain_text: Scope::Free,
            json: JsonLimits::default(),
            max_layers: 3,
            budget: 2 << 20,
        }
    }
}

impl Rules {
    /// The default rules with that mode for all.
    pub fn with_mode(mode: Mode) -> Rules {
        Rules {
            mode,
            ..Rules::default()
        }
    }

    /// These rules with another mode for a rule or a family.
    #[must_use]
    pub fn set(mut self, name: &str, mode: Mode) -> Rules {
        self.modes.insert(name.to_owned(), mode);
        self
    }

    /// Says another mode for a rule or for a family; what was said before of the family's rules is forgotten.
    pub(crate) fn say(&mut self, name: &str, mode: Mode) {
        self.modes.retain(|known, _| family_of(known) != Some(name));
        self.modes.insert(name.to_owned(), mode);
    }

    /// Whether any rule is asked at all.
    pub fn any(&self) -> bool {
        self.some(|mode| mode != Mode::Off)
    }

    /// Whether any rule keeps messages from passing.
    pub fn blocks(&self) -> bool {
        self.some(|mode| mode == Mode::Block)
    }

    fn some(&self, is: impl Fn(Mode) -> bool) -> bool {
        is(self.mode) || self.modes.values().any(|mode| is(*mode))
    }

    /// The mode of a rule.
    pub(crate) fn mode_of(&self, name: &RuleName) -> Mode {
        let own = self.modes.get(name.id);
        let familys = || self.modes.get(name.family);
        match own.or_else(familys) {
            Some(mode) => *mode,
            None if name.only_by_name => Mode::Off,
            None => self.mode,
        }
    }

    /// # Errors
    /// What is wrong with them.
    pub(crate) fn check(&self) -> Result<(), BadRules> {
        if self.mode == Mode::Mask {
            return Err(BadRules::NothingToMask("mode".to_owned()));
        }
        for (name, mode) in &self.modes {
            let family = family_of(name).ok_or_else(|| BadRules::UnknownRule(name.clone()))?;
            if *mode == Mode::Mask && family != Leak::FAMILY {
                return Err(BadRules::NothingToMask(name.clone()));
            }
        }
        Ok(())
    }
}

/// The family of a rule, or of a family's own name.
pub(crate) fn family_of(name: &str) -> Option<&'static str> {
    let mut known = names().filter(|known| known.id == name || known.family == name);
    known.next().map(|known| known.family)
}

/// Whether what is found by that name can be masked.
pub(crate) fn can_mask(name: &str) -> bool {
    family_of(name) == Some(Leak::FAMILY)
}

/// Rules that no inspection can be made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadRules {
    /// There is no rule and no family of that name; the guide's list of rules has them all.
    UnknownRule(String),
    /// Only what is found by a rule of the family `leak` can be masked; use monitor or block.
    NothingToMask(String),
}

impl fmt::Display for BadRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRules::UnknownRule(name) => {
                write!(f, "there is no content rule and no family named {name:?}")
            }
            BadRules::NothingToMask(name) => write!(
                f,
                "{name}: only what a rule of the family leak finds can be masked; use monitor or block"
            ),
        }
    }
}

impl std::error::Error for BadRules {}

/// A rule as policies and findings name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleName {
    /// `sqli-union`.
    pub id: &'static str,
    /// `sqli`.
    pub family: &'static str,
    /// What it is about.
    pub why: &'static str,
    /// Which code a connection ends with when the rule blocks.
    pub close: CloseCode,
    /// Off unless it is named: it forbids what many applications do.
    pub only_by_name: bool,
}

/// Every rule there is.
pub fn names() -> impl Iterator<Item = RuleName> {
    let detectors = detect::every().map(|(family, rule)| RuleName {
        id: rule.id,
        family: family.name(),
        why: rule.why,
        close: CloseCode::POLICY,
        only_by_name: false,
    });
    let leaks = Leak::ALL.iter().map(|leak| leak.name());
    STRUCTURE.iter().copied().chain(detectors).chain(leaks)
}

const fn structure(id: &'static str, family: &'static str, why: &'static str) -> RuleName {
    RuleName {
        id,
        family,
        why,
        close: CloseCode::INVALID_PAYLOAD,
        only_by_name: false,
    }
}

/// The rules about how a message is built, by their place.
pub(crate) const STRUCTURE: &[RuleName] = &[
    structure("json-utf8", "json", "octets that are not UTF-8"),
    structure("json-syntax", "json", "begins as JSON and is not JSON"),
    structure("json-depth", "json", "objects and arrays too deep"),
    structure("json-nodes", "json", "too many values"),
    structure("json-keys", "json", "too many keys in an object"),
    structure("json-key-length", "json", "a key that is too long"),
    structure("json-duplicate-key", "json", "a key that stands twice"),
    structure("json-surrogate", "json", "half a surrogate pair"),
    structure(
        "json-number",
        "json",
        "a number that no double holds, or a long one",
    ),
    structure("json-bom", "json", "a byte order mark before the JSON"),
    RuleName {
        only_by_name: true,
        ..structure(
            "json-required",
            "json-required",
            "a message that is not JSON",
        )
    },
    RuleName {
        close: CloseCode::UNSUPPORTED,
        only_by_name: true,
        ..structure("binary", "binary", "a binary message")
    },
    RuleName {
        close: CloseCode::POLICY,
        ..structure(
            "overlimit",
            "overlimit",
            "the budget for a message's inspection is spent",
        )
    },
    RuleName {
        close: CloseCode::POLICY,
        ..structure("nosql-key", "nosql", "a member named as an operator")
    },
    RuleName {
        close: CloseCode::POLICY,
        ..structure(
            "prototype-key",
            "prototype",
            "a member named as an object's prototype",
        )
    },
    structure("schema", "schema", "what the schema does not allow"),
];

/// Places in [`STRUCTURE`]; the first ten are the walk's faults, in their order.
pub(crate) mod place {
    pub(crate) const JSON_REQUIRED: usize = 10;
    pub(crate) const BINARY: usize = 11;
    pub(crate) const OVERLIMIT: usize = 12;
    pub(crate) const NOSQL_KEY: usize = 13;
    pub(crate) const PROTOTYPE_KEY: usize = 14;
    #[cfg(feature = "schema")]
    pub(crate) const SCHEMA: usize = 15;
}
