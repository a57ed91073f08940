//! What can be found: one row for each finding, with its weight, the rule it breaks and how to mend it. It asks nothing.

use std::fmt;

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) enum Severity {
    /// A remark: no rule is broken that anybody's safety hangs on.
    Info,
    /// A laxity that needs another fault to do harm, or a limit that is missing.
    Low,
    /// A rule of the RFC that others' safety hangs on.
    Medium,
    /// Usable as it is.
    High,
    /// Others' traffic or the server's life is in the hand of whoever asks.
    Critical,
}

impl Severity {
    /// As it is written in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that can be found.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its name: the threat's row in the study, and a word.
    pub(crate) id: &'static str,
    /// Its weight.
    pub(crate) severity: Severity,
    /// What is wrong, in one line.
    pub(crate) title: &'static str,
    /// Its class in the Common Weakness Enumeration.
    pub(crate) cwe: u16,
    /// The rule that is broken, or the default that is stated.
    pub(crate) section: &'static str,
    /// What the owner can do.
    pub(crate) mend: &'static str,
}

/// The row called `id`.
///
/// # Panics
/// When there is none, which the tests of the probes' tables exclude.
pub(crate) fn rule(id: &str) -> &'static Rule {
    let found = RULES.iter().find(|rule| rule.id == id);
    found.unwrap_or_else(|| panic!("{id} is in the table of rules"))
}

const fn row(
    id: &'static str,
    severity: Severity,
    cwe: u16,
    section: &'static str,
    title: &'static str,
    mend: &'static str,
) -> Rule {
    Rule {
        id,
        severity,
        title,
        cwe,
        section,
        mend,
    }
}

use Severity::{Critical, High, Info, Low, Medium};

/// All there is to find.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    // The server as a whole.
    row("A0.gone", Critical, 400, "RFC 6455 §10.4", "The server refuses good handshakes since a bad request",
        "Find out which request it was (the last one shown) and whether the process fell over or has locked us out."),

    // One good handshake.
    row("H2.secret-in-url", Low, 598, "RFC 9110 §17.9", "A secret stands in the URL, and so in logs and histories",
        "Send it as a header field, a cookie, a ticket that is good once, or in the first message."),
    row("H16.plain", Medium, 319, "RFC 6455 §10.6", "The endpoint speaks without TLS to other machines",
        "Serve wss:// and refuse upgrades on the plain port, without a redirect."),
    row("P1.cookie", Low, 1275, "RFC 6265 §4.1.2", "A cookie of the handshake lacks HttpOnly, Secure (over TLS) or SameSite",
        "Set HttpOnly, Secure and SameSite=Lax or Strict: it travels with every handshake."),
    row("P2.banner", Info, 200, "RFC 9110 §10.2.4", "The server tells its version",
        "Leave the version out of the Server field."),
    row("H3.accept", High, 358, "RFC 6455 §4.2.2", "The 101 does not carry the right Sec-WebSocket-Accept",
        "Answer with base64(SHA-1(key + GUID)); a missing or wrong value lets caches and proxies answer in the server's place."),
    row("H3.answer", Medium, 358, "RFC 6455 §4.2.2", "The 101 is not one: HTTP/1.0, or no Upgrade or Connection field",
        "Answer HTTP/1.1 101 with Upgrade: websocket and Connection: Upgrade."),
    row("H10.unoffered-extension", Medium, 358, "RFC 6455 §9.1", "The server uses an extension that was not offered",
        "Answer only extensions that the request lists."),
    row("H15.unoffered-subprotocol", Medium, 358, "RFC 6455 §4.2.2", "The server picks a subprotocol that was not offered",
        "Pick one of the request's, or leave the field out."),

    // Handshakes that must not succeed.
    row("H1.foreign-origin", High, 1385, "RFC 6455 §10.2", "Pages of other sites may connect",
        "Compare the whole Origin (scheme, host, port) with a list, and answer 403 otherwise."),
    row("H1.null-origin", High, 1385, "RFC 6455 §10.2", "Origin null is let in, which any page can be",
        "Treat null as foreign: sandboxed frames of any site send it."),
    row("H1.near-origin", Medium, 1385, "RFC 6455 §10.2", "Origins that only resemble the server's own are let in",
        "Compare scheme, host and port exactly; list subdomains and other ports one by one."),
    row("H1.malformed-origin", Low, 1385, "RFC 6454 §7", "Origins that no browser sends are let in",
        "Parse the Origin as scheme://host[:port] with nothing after it, and refuse the rest."),
    row("H1.two-origins", Low, 1385, "RFC 6454 §7.3", "Two Origin fields are let in",
        "Refuse a request with more than one Origin: a proxy may have judged the other one."),
    row("H5.other-upgrade", Medium, 444, "RFC 6455 §4.2.1", "A request for no WebSocket is answered with 101",
        "Switch only when Upgrade lists the token websocket."),
    row("H5.no-connection", Low, 444, "RFC 6455 §4.2.1", "An upgrade that Connection does not list is answered with 101",
        "Want the token Upgrade in Connection: without it the field was meant for another hop."),
    row("H6.missing-key", Medium, 20, "RFC 6455 §4.2.1", "A handshake without a key is accepted",
        "Want Sec-WebSocket-Key: it shows that the client is one and no form or cache."),
    row("H6.bad-key", Low, 20, "RFC 6455 §4.2.1", "A key that is not 16 octets in base64 is accepted",
        "Decode the key, and refuse what is not 16 octets, or comes twice."),
    row("H7.version", Low, 20, "RFC 6455 §4.2.1", "A version other than 13 is accepted",
        "Answer 426 with Sec-WebSocket-Version: 13."),
    row("H7.version-answer", Info, 20, "RFC 6455 §4.2.2", "The refusal of a version does not tell the right one",
        "Add Sec-WebSocket-Version: 13 to it."),
    row("H8.method", Medium, 444, "RFC 6455 §4.2.1", "A handshake by another method than GET is accepted",
        "Refuse it (405): a POST may carry a body that a proxy counts otherwise."),
    row("H8.http-1.0", Low, 444, "RFC 6455 §4.2.1", "A handshake over HTTP/1.0 is accepted",
        "Refuse it: HTTP/1.0 has no upgrades, so something in between speaks it."),
    row("H8.body", Medium, 444, "stated here, after RFC 9110 §9.3.1", "A handshake with a body is accepted",
        "Refuse Content-Length above 0 and Transfer-Encoding: what is body and what is frame is else a matter of opinion."),
    row("H9.header-flood", Low, 770, "stated here: at most 300,000 octets of header", "A head of 300,000 octets is accepted",
        "Limit fields, line and head (we: 100, 8 KiB, 16 KiB) and answer 431."),
    row("H10.extension-syntax", Low, 20, "RFC 6455 §9.1", "A malformed list of extensions is accepted",
        "Refuse with 400 what is not by the grammar, in one pass, without backtracking."),
    row("H10.deflate-parameter", Low, 20, "RFC 7692 §7.1", "permessage-deflate is accepted with a parameter that is not valid",
        "Decline an offer with an unknown parameter, or window bits outside 8 to 15."),
    row("H10.unknown-extension", Medium, 20, "RFC 6455 §9.1", "An extension nobody knows is accepted",
        "Answer only extensions that are spoken."),
    row("H11.handshake-timeout", Low, 400, "stated here: --wait", "Half a request may stay for long",
        "Close when the head is not complete within some 10 s, however its octets trickle in."),
    row("H12.host", Medium, 444, "RFC 9112 §3.2", "A request with no Host, two, or a malformed one is accepted",
        "Answer 400: proxies and the server may else see different hosts."),
    row("H12.rebinding", Medium, 350, "stated here: local servers know their names", "A server on loopback answers to any Host, so web pages can reach it by DNS rebinding",
        "Answer only to localhost, loopback addresses and listed names (421 otherwise)."),
    row("H13.target", Low, 20, "RFC 9112 §3.2", "A request-target that is none is accepted",
        "Answer 400 to a fragment, a NUL or other octets that no target has."),
    row("H15.any-subprotocol", Low, 20, "RFC 6455 §4.2.2", "Any subprotocol is agreed to",
        "Agree to known ones only: the field is no place for echoes."),
    row("H15.subprotocol-syntax", Low, 20, "RFC 6455 §4.1", "A subprotocol that is no token is accepted",
        "Answer 400."),
    row("H17.reflected", Critical, 113, "RFC 9110 §5.5", "Octets of the request become header fields of the answer",
        "Refuse CR, LF and NUL in all that is put into a head."),
    row("H17.control-octets", Low, 113, "RFC 9110 §5.5", "CR or NUL in a field's value is accepted",
        "Answer 400: another reader may see the end of a line there."),
    row("H17.malformed-field", Low, 444, "RFC 9112 §5", "A field line that is none is accepted",
        "Answer 400: white space before the colon and names that are no token are how requests are smuggled."),
    row("H0.no-answer", Info, 755, "RFC 6455 §4.2.2", "A bad handshake is refused without an HTTP answer",
        "Send a status before closing; it helps whoever made the mistake."),
    row("H0.server-error", Info, 755, "RFC 9110 §15.6", "A bad handshake is answered as the server's own error",
        "Answer 4xx; a 5xx for bad input often means that something was thrown and caught late."),

    // Frames that must fail the connection.
    row("F1.unmasked", High, 444, "RFC 6455 §5.1", "Unmasked frames of clients are accepted",
        "Close with 1002: masks keep pages from writing chosen octets through proxies."),
    row("F1.masked-answer", Medium, 358, "RFC 6455 §5.1", "The server masks its frames",
        "Send frames unmasked; clients must fail the connection otherwise."),
    row("F2.reserved-bits", Medium, 20, "RFC 6455 §5.2", "Reserved bits are accepted where no extension gives them a meaning",
        "Close with 1002."),
    row("F3.reserved-opcode", Medium, 20, "RFC 6455 §5.2", "Reserved opcodes are accepted",
        "Judge the opcode before the length, and close with 1002."),
    row("F4.long-control", Medium, 20, "RFC 6455 §5.5", "Control frames above 125 octets are accepted",
        "Close with 1002 at the header."),
    row("F4.fragmented-control", Medium, 20, "RFC 6455 §5.5", "Fragmented control frames are accepted",
        "Close with 1002 at the header."),
    row("F4.no-pong", Low, 358, "RFC 6455 §5.5.2", "Pings are not answered",
        "Answer each with a Pong of the same payload, also between the fragments of a message."),
    row("F5.size", Low, 770, "stated here: --max-message", "No limit for messages up to --max-message",
        "Limit messages (we: 1 MiB) by the header, before memory is spent, and close with 1009."),
    row("F6.length", Medium, 190, "RFC 6455 §5.2", "A length with its top bit set is accepted",
        "Close with 1002, and count in 64 bits with checks."),
    row("F7.non-minimal-length", Low, 20, "RFC 6455 §5.2", "Lengths in a longer form than needed are accepted",
        "Close with 1002: two spellings of one frame are two opinions of it."),
    row("F9.invalid-utf-8", Medium, 20, "RFC 6455 §8.1", "Text that is not UTF-8 is accepted",
        "Validate over fragments, and close with 1007."),
    row("F9.close-reason", Low, 20, "RFC 6455 §5.5.1", "A Close reason that is not UTF-8 is accepted",
        "Answer 1007."),
    row("F10.close-code", Low, 20, "RFC 6455 §7.4", "Close codes that must not be on the wire are accepted",
        "Answer 1002 to codes outside 1000-1003, 1007-1014 and 3000-4999."),
    row("F10.close-body", Low, 20, "RFC 6455 §5.5.1", "A Close of one octet is accepted",
        "Answer 1002: a body begins with two octets of code."),
    row("F10.no-close-answer", Low, 358, "RFC 6455 §5.5.1", "A Close is not answered",
        "Send a Close back, then close the socket."),
    row("F11.orphan-continuation", Medium, 20, "RFC 6455 §5.4", "A continuation of nothing is accepted",
        "Close with 1002."),
    row("F11.interleaved", Medium, 20, "RFC 6455 §5.4", "A new message inside a fragmented one is accepted",
        "Close with 1002."),
    row("F11.after-close", Medium, 20, "RFC 6455 §5.5.1", "Frames after a Close are still served",
        "Send nothing after one's Close, and drop what comes after the peer's."),
    row("F0.close-code", Info, 755, "RFC 6455 §7.4.1", "Errors are told with another close code than the RFC's",
        "1002 for broken framing, 1007 for bad UTF-8, 1009 for size: clients decide by it whether to come back."),
    row("F0.no-close", Info, 755, "RFC 6455 §7.1.7", "Errors end the connection without a Close",
        "Send a Close with the code first."),

    // Limits that must be somewhere.
    row("R3.ping-flood", Low, 770, "stated here: at most 5,000 pings at once", "5,000 pings in a row are all answered",
        "Give control frames a budget, keep one Pong waiting at most, and close with 1008."),
    row("R4.fragments", Medium, 770, "stated here: at most 262,144 fragments a message", "A message of 262,144 empty fragments is not stopped",
        "Count fragments, not only octets (we: 1,024), and close with 1008."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_rule_has_a_name_of_its_own_and_says_all() {
        let names: HashSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            assert!(rule.title.len() > 10 && rule.mend.len() > 5 && rule.section.len() > 5);
            assert!(rule.cwe > 0 && rule.id.contains('.'), "{}", rule.id);
        }
    }
}
