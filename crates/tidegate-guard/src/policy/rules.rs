//! Content rules by name, and what is done when one of them speaks. It inspects nothing.

use std::fmt;
use std::time::Duration;

/// What a rule's verdict does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The rule is not asked.
    Off,
    /// The verdict is counted and written to the audit log; the message passes.
    #[default]
    Monitor,
    /// The message does not pass.
    Block,
}

impl Mode {
    /// Its name in the policy, in audit and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Monitor => "monitor",
            Mode::Block => "block",
        }
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A content rule. Its name is the key in the policy and the label in audit and metrics.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Deserialize)]
        pub enum Rule {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }
        }
    };
}

rules! {
    /// A text message is not JSON, where the route asks for it.
    Json = "json",
    /// A key stands twice in one object.
    DuplicateKey = "duplicate_key",
    /// Too deep, too many keys, too many values.
    Complexity = "complexity",
    /// The message does not fit the route's schema.
    Schema = "schema",
    /// `__proto__` and its like among the keys.
    PrototypePollution = "prototype_pollution",
    /// Operators of document databases among the keys.
    Nosql = "nosql",
    /// SQL where data should be.
    Sqli = "sqli",
    /// Script where text should be.
    Xss = "xss",
    /// Shell commands where data should be.
    Command = "command",
    /// Ways out of a directory.
    Traversal = "traversal",
    /// Template expressions.
    Ssti = "ssti",
    /// External entities of XML.
    Xxe = "xxe",
    /// Look-ups of log4j.
    Log4shell = "log4shell",
    /// From the server: numbers of payment cards.
    CardNumber = "card_number",
    /// From the server: keys and passwords.
    SecretKey = "secret_key",
    /// From the server: stack traces.
    StackTrace = "stack_trace",
    /// The inspection would take longer than its budget.
    Overlimit = "overlimit",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The mode of each rule on a route, and how long all of them may take for one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    modes: [Mode; Rule::ALL.len()],
    /// For one message; what takes longer gets the verdict [`Rule::Overlimit`]. Default: 2 ms.
    pub budget: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::all(Mode::Monitor)
    }
}

impl Rules {
    /// Every rule in one mode.
    pub fn all(mode: Mode) -> Rules {
        Rules {
            modes: [mode; Rule::ALL.len()],
            budget: Duration::from_millis(2),
        }
    }

    /// The mode of a rule.
    pub fn mode(&self, rule: Rule) -> Mode {
        self.modes[rule as usize]
    }

    /// The same with another mode for one rule.
    #[must_use]
    pub fn with(mut self, rule: Rule, mode: Mode) -> Rules {
        self.modes[rule as usize] = mode;
        self
    }

    /// Whether any rule is asked at all.
    pub fn any(&self) -> bool {
        self.modes.iter().any(|mode| *mode != Mode::Off)
    }

    /// Whether any rule keeps messages from passing.
    pub fn blocks(&self) -> bool {
        self.modes.contains(&Mode::Block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_mode_of_its_own() {
        let rules = Rules::all(Mode::Off)
            .with(Rule::Sqli, Mode::Block)
            .with(Rule::Xss, Mode::Monitor);
        for rule in Rule::ALL {
            let expected = match rule {
                Rule::Sqli => Mode::Block,
                Rule::Xss => Mode::Monitor,
                _ => Mode::Off,
            };
            assert_eq!(rules.mode(*rule), expected, "{rule}");
        }
        assert!(rules.any() && rules.blocks());
        assert!(!Rules::all(Mode::Off).any() && !Rules::all(Mode::Monitor).blocks());
    }

    #[test]
    fn names_are_fit_for_labels_and_stand_once() {
        let mut names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert!(names.iter().all(|name| {
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
