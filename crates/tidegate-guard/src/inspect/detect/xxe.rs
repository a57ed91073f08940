//! External entities (XXE): a document type or an include that makes an XML reader fetch something.

use super::{Rule, rule};

pub(super) const RULES: &[Rule] = &[
    rule(
        "xxe-entity",
        "an entity that is fetched",
        (5, 5),
        r#"<!entity\s+(?:%\s*)?\S+\s+(?:system|public)\b|<!entity\s+(?:%\s*)?\S+\s+["'](?:[^"']*(?:&\w+;|%\w+;|<!entity|&#x?\w+;)|[^"']{1000})"#,
        "<!ENTITY x SYSTEM \"file:///x\">",
    ),
    rule(
        "xxe-declaration",
        "an entity is declared",
        (5, 4),
        r"<!entity\b",
        "<!ENTITY x \"y\">",
    ),
    rule(
        "xxe-doctype",
        "a document type with an inner part, or one that is fetched",
        (5, 5),
        r#"<!doctype[^>\[]*\[|<!doctype\s+[^>]*?\b(?:system|public)\s+(?:["'][^"']*["']\s+)?["'](?:file|https?://(?:\d|[^w/]|w[^w])|ftp|php|expect|jar|netdoc|gopher|//|\w+\.dtd)"#,
        "<!DOCTYPE a [",
    ),
    rule(
        "xxe-include",
        "a part that is included",
        (5, 5),
        r#"<\s*xi:include\s|xmlns:\w+\s*=\s*["']?https?://www\.w3\.org/2001/xinclude"#,
        "<xi:include href=\"file:///x\"/>",
    ),
    rule(
        "xxe-stylesheet",
        "a style sheet that reads or runs something",
        (5, 5),
        r#"<xsl:(?:value-of|copy-of|include|import)[^>]*(?:document\s*\(|unparsed-text|system-property|php:function|href)|<\?xml-stylesheet[^>]*href\s*=\s*["']?(?:file|https?|data|//)"#,
        "<xsl:value-of select=\"document('x')\"/>",
    ),
    rule(
        "xxe-reference",
        "a document that is XML and refers to a file",
        (5, 4),
        r#"<\?xml[^>]*\?>.*(?:system\s+["']|file://|expect://|php://)|xlink:href\s*=\s*["']?(?:file|expect|text|php):|schemalocation\s*=\s*["'][^"']*(?:file:|https?://(?:\d|[^w]))"#,
        "<image xlink:href=\"file:///x\"/>",
    ),
];
