//! What peers in the wild get wrong about permessage-deflate, as data; each row holds an example that the
//! tests run. The remedy is always to compress less, never to fail.

/// One known oddity of some peers, and what we do about it.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// Who does it.
    pub who: &'static str,
    /// What they do, and our remedy.
    pub what: &'static str,
    /// Where it was reported.
    pub report: &'static str,
    /// An encounter and how it ends.
    pub example: Example,
}

/// An encounter with a quirk; the tests run each.
#[derive(Clone, Copy, Debug)]
pub enum Example {
    /// A client with this `User-Agent` offers this; the server answers so, or declines.
    Offer {
        /// The request's `User-Agent`; may be empty.
        user_agent: &'static str,
        /// Its `Sec-WebSocket-Extensions`.
        offer: &'static str,
        /// Our answer.
        answer: Option<&'static str>,
    },
    /// Our offers contain no such parameter.
    NeverOffered(&'static str),
    /// A server answers so; we agree, and compress what we send or not.
    Answer {
        /// Its `Sec-WebSocket-Extensions`.
        answer: &'static str,
        /// We compress what we send.
        compresses: bool,
    },
    /// A compressed payload that is not by the book, and the message it means.
    Payload(&'static [u8], &'static [u8]),
}

const SHARED: Option<&str> =
    Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");

/// First Safari and iOS whose WebSocket stack is trusted with compression.
const APPLE_FROM: u32 = 18;

/// The table.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        who: "Safari 15 to 17 on macOS",
        what: "negotiates, then inflates wrongly and drops the connection; declined",
        report: "uNetworking/uWebSockets#1347, gorilla/websocket#731, TheThingsNetwork/lorawan-stack#6782",
        example: Example::Offer {
            user_agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 12_2) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.2 Safari/605.1.15",
            offer: "permessage-deflate",
            answer: None,
        },
    },
    Quirk {
        who: "any browser on iOS 15 to 17, which all use Apple's stack",
        what: "the same; declined",
        report: "nats-io/nats.ws#113, gorilla/websocket#731",
        example: Example::Offer {
            user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 16_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/112.0.5615.46 Mobile/15E148 Safari/604.1",
            offer: "permessage-deflate",
            answer: None,
        },
    },
    Quirk {
        who: "Safari from 18 on",
        what: "no report against it; accepted",
        report: "none",
        example: Example::Offer {
            user_agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            offer: "permessage-deflate",
            answer: SHARED,
        },
    },
    Quirk {
        who: "Safari before 15",
        what: "offers a forerunner of the extension, which is another extension; not answered",
        report: "uNetworking/uWebSockets#1157, machinezone/IXWebSocket#160",
        example: Example::Offer {
            user_agent: "",
            offer: "x-webkit-deflate-frame",
            answer: None,
        },
    },
    Quirk {
        who: "Chrome, which names Safari in its User-Agent",
        what: "works; accepted",
        report: "uNetworking/uWebSockets#1347",
        example: Example::Offer {
            user_agent: "Mozilla/5.0 (Linux; Android 11; SM-A405FN) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/97.0.4692.87 Mobile Safari/537.36",
            offer: "permessage-deflate; client_max_window_bits",
            answer: SHARED,
        },
    },
    Quirk {
        who: "clients that ask the server for a window of 8 bits",
        what: "no zlib keeps raw deflate to 256 bytes (madler/zlib#171); that offer is declined",
        report: "python-websockets/websockets#1757",
        example: Example::Offer {
            user_agent: "",
            offer: "permessage-deflate; server_max_window_bits=8",
            answer: None,
        },
    },
    Quirk {
        who: "clients that offer 8 bits for themselves and then use 9, as old zlib does",
        what: "we inflate with 15 bits, whatever was agreed; accepted",
        report: "madler/zlib#752",
        example: Example::Offer {
            user_agent: "",
            offer: "permessage-deflate; client_max_window_bits=8",
            answer: SHARED,
        },
    },
    Quirk {
        who: "servers that choose a window of 8 bits for the client",
        what: "legal, but we cannot compress so; we agree and send uncompressed",
        report: "oven-sh/bun#38632",
        example: Example::Answer {
            answer: "permessage-deflate; client_max_window_bits=8",
            compresses: false,
        },
    },
    Quirk {
        who: "AWS API Gateway",
        what: "agrees to server_max_window_bits, then sends nothing; never asked for",
        report: "python-websockets/websockets#1065",
        example: Example::NeverOffered("server_max_window_bits"),
    },
    Quirk {
        who: "servers that forget a parameter we asked for, as soketto 0.8 does",
        what: "in Shared we compress each message by itself, answered or not, and keep the server's window",
        report: "our own measurement of soketto 0.8.1",
        example: Example::Answer {
            answer: "permessage-deflate",
            compresses: true,
        },
    },
    Quirk {
        who: "servers that tell their window unasked",
        what: "legal (RFC 7692 §7.1.2.1); taken",
        report: "coder/websocket#258",
        example: Example::Answer {
            answer: "permessage-deflate; server_max_window_bits=15",
            compresses: true,
        },
    },
    Quirk {
        who: "peers that end a message with a final block and no empty block after it",
        what: "the end is clear; taken",
        report: "oven-sh/bun#34105",
        example: Example::Payload(b"\xF3\x48\xCD\xC9\xC9\x07\x00", b"Hello"),
    },
    Quirk {
        who: "peers that compress an empty message to nothing at all",
        what: "RFC 7692 §7.2.3.6 asks for one octet; what is meant is clear; taken",
        report: "none known by name",
        example: Example::Payload(b"", b""),
    },
];

/// Whether the client is one of Apple's that negotiate compression and then break on it.
pub(super) fn inflates_wrongly(user_agent: &str) -> bool {
    safari_version(user_agent)
        .or_else(|| ios_version(user_agent))
        .is_some_and(|version| version < APPLE_FROM)
}

/// The major version of Safari proper; other browsers that name Safari have no `Version/`, or name Chrome.
fn safari_version(user_agent: &str) -> Option<u32> {
    if !user_agent.contains("Safari/")
        || user_agent.contains("Chrom")
        || user_agent.contains("Android")
    {
        return None;
    }
    number_after(user_agent, "Version/")
}

/// The major version of iOS or iPadOS.
fn ios_version(user_agent: &str) -> Option<u32> {
    if !user_agent.contains("like Mac OS X") {
        return None;
    }
    number_after(user_agent, "CPU iPhone OS ").or_else(|| number_after(user_agent, "CPU OS "))
}

fn number_after(text: &str, mark: &str) -> Option<u32> {
    let (_, rest) = text.split_once(mark)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::{
        Bounds, Deflate, DeflateConfig, Inflater, Inflating, accept, judge, offer,
    };
    use crate::handshake::parse_offers;

    fn run(quirk: &Quirk) {
        let config = DeflateConfig::from(Deflate::Shared);
        match quirk.example {
            Example::Offer {
                user_agent,
                offer,
                answer,
            } => {
                let offers = parse_offers(offer.as_bytes()).expect("a valid header");
                let got = accept(&offers, &config, Some(user_agent)).map(|a| a.header);
                assert_eq!(got.as_deref(), answer, "{}", quirk.who);
            }
            Example::NeverOffered(parameter) => {
                let dedicated = Deflate::Dedicated {
                    bits: 10,
                    mem_level: 5,
                };
                for mode in [Deflate::Shared, dedicated] {
                    let header = offer(&mode.into()).expect("an offer");
                    assert!(!header.contains(parameter), "{}", quirk.who);
                }
            }
            Example::Answer { answer, compresses } => {
                let elements = parse_offers(answer.as_bytes()).expect("a valid header");
                let negotiated = judge(&elements, &config)
                    .expect("no failure")
                    .expect("agreed");
                let codec = config.codec(negotiated.client_max_window_bits);
                assert_eq!(codec.is_some(), compresses, "{}", quirk.who);
            }
            Example::Payload(payload, message) => {
                let bounds = Bounds::new(1_000, &config);
                let mut inflating = Inflating::new(Box::new(Inflater::new()));
                let mut out = Vec::new();
                inflating
                    .feed(payload, &mut out, 1_000, bounds)
                    .expect("it inflates");
                inflating.finish(&mut out, bounds).expect("it is complete");
                assert_eq!(out, message, "{}", quirk.who);
            }
        }
    }

    #[test]
    fn every_row_of_the_table_holds() {
        QUIRKS.iter().for_each(run);
    }

    #[test]
    fn user_agents_of_apples_stack_are_told_from_others() {
        let rows = [
            ("", false),
            ("curl/8.5", false),
            ("Version/", false),
            ("Safari/ Version/x", false),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:96.0) Gecko/20100101 Firefox/96.0",
                false,
            ),
            (
                "Mozilla/5.0 (Linux; U; Android 4.0; en-us) AppleWebKit/534.30 Version/4.0 Mobile Safari/534.30",
                false,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 12_2) AppleWebKit/605.1.15 Version/17.4.1 Safari/605.1.15",
                true,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 15_1 like Mac OS X) AppleWebKit/605.1.15 FxiOS/39 Mobile/15E148 Safari/605.1.15",
                true,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/130 Mobile/15E148 Safari/604.1",
                false,
            ),
        ];
        for (user_agent, expected) in rows {
            assert_eq!(inflates_wrongly(user_agent), expected, "{user_agent}");
        }
    }
}
