//! Log4Shell: a lookup that makes a logger fetch a class, in any spelling that lookups inside of it give.

use super::{Rule, rule};

pub(super) const RULES: &[Rule] = &[
    rule(
        "log4shell-jndi",
        "a lookup by JNDI",
        (5, 5),
        r"\$\{[^}]*?jndi\s*:|jndi:(?:ldaps?|rmi|dns|iiop|corba|nds|nis|https?)\s*:",
        "${jndi:ldap://x}",
    ),
    rule(
        "log4shell-spelt",
        "a lookup that spells a letter",
        (5, 5),
        r"\$\{(?:lower|upper):[^}]{0,12}\}|\$\{:{1,3}-?\w?|\$\{(?:env|sys|k8s|sd|date|main|ctx|java|web|docker)?:?[^}\s]{0,30}:-[\w:/.]\}|\$\{\$\{|\$\{[a-z]\$\{",
        "${${lower:j}ndi",
    ),
    rule(
        "log4shell-lookup",
        "a lookup that tells about the server",
        (5, 5),
        r"\$\{(?:env|sys|java|main|ctx|k8s|sd|bundle|docker|web|log4j|map|marker|spring):\s*[\w.{]",
        "${env:AWS_SECRET_ACCESS_KEY}",
    ),
];
