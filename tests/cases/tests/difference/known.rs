//! The differences that are known: who does what, who is right, and by which section. A row judges by what both
//! said and delivered, never by the octets.

use crate::peers::{End, Outcome};

/// One kind of difference.
pub(crate) struct Known {
    /// Who differs from us.
    pub(crate) peer: &'static str,
    /// What it does.
    pub(crate) what: &'static str,
    /// Who is right, by which section.
    pub(crate) right: &'static str,
    /// Whether these two outcomes, ours first, differ in this way.
    pub(crate) is: fn(&Outcome, &Outcome) -> bool,
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        peer: "tungstenite",
        what: "takes a length that is not in its shortest form",
        right: "we are, RFC 6455 §5.2: the least number of octets must be used",
        is: |ours, theirs| failed(ours, "LengthNotMinimal") && no_fewer(ours, theirs),
    },
    Known {
        peer: "tungstenite",
        what: "takes a control frame whose length, up to 125, is in a long form, or judges it late",
        right: "we are, RFC 6455 §5.2, §5.5: two octets are enough to refuse it",
        is: |ours, theirs| failed(ours, "ControlTooLong") && no_fewer(ours, theirs),
    },
    Known {
        peer: "tungstenite",
        what: "tells a Close with a code that may not be on the wire as a Close with 1002",
        right: "both, RFC 6455 §7.4: the peer gets 1002 either way; we tell the application what was wrong",
        is: |ours, theirs| failed(ours, "BadCloseCode") && told_1002(theirs) && alike(ours, theirs),
    },
    Known {
        peer: "tungstenite",
        what: "does not know the code 1014",
        right: "we are: the registry of RFC 6455 §7.4.2 has it as Bad Gateway",
        is: |ours, theirs| {
            ours.end == End::Closed(Some(1014)) && told_1002(theirs) && alike(ours, theirs)
        },
    },
    Known {
        peer: "tungstenite",
        what: "judges a frame only when all of it has come",
        right: "both, RFC 6455 §7.1.7 sets no time; §8.1 and the Autobahn suite like us better, and it costs us no buffer",
        is: |ours, theirs| is_failed(ours) && theirs.end == End::Open && alike(ours, theirs),
    },
    Known {
        peer: "tokio-websockets",
        what: "judges the first octet only when the second has come",
        right: "both, RFC 6455 §5.2: the verdict is the same",
        is: |ours, theirs| {
            let first = ["ReservedBits", "ReservedOpCode", "FragmentedControl"];
            first.iter().any(|cause| failed(ours, cause))
                && theirs.end == End::Open
                && alike(ours, theirs)
        },
    },
    Known {
        peer: "tokio-websockets",
        what: "judges mask, RSV1, continuation and a Close's length by two octets, where we read the header first",
        right: "both, RFC 6455 §5: the verdict is the same",
        is: |ours, theirs| ours.end == End::Open && is_failed(theirs) && alike(ours, theirs),
    },
    Known {
        peer: "tokio-websockets",
        what: "delivers a text that ends inside a character when its last fragment is empty",
        right: "we are, RFC 6455 §8.1: the connection must fail, and the application gets text that is no UTF-8",
        is: |ours, theirs| {
            let next = theirs.messages.get(ours.messages.len());
            failed(ours, "TextNotUtf8")
                && next
                    .is_some_and(|(text, payload)| *text && std::str::from_utf8(payload).is_err())
                && no_fewer(ours, theirs)
        },
    },
];

/// We failed for this cause.
fn failed(outcome: &Outcome, cause: &str) -> bool {
    matches!(&outcome.end, End::Failed(why) if why.starts_with(cause))
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome.end, End::Failed(_))
}

fn told_1002(outcome: &Outcome) -> bool {
    outcome.end == End::Closed(Some(1002))
}

/// The same messages were delivered.
fn alike(ours: &Outcome, theirs: &Outcome) -> bool {
    ours.messages == theirs.messages
}

/// They went on where we stopped: all of our messages, and maybe more.
fn no_fewer(ours: &Outcome, theirs: &Outcome) -> bool {
    theirs.messages.starts_with(&ours.messages)
}
