//! The negotiation of permessage-deflate (RFC 7692 §5, §7.1) as pure functions; an odd offer is declined,
//! never an error.

use super::{Deflate, DeflateConfig, MIN_COMPRESS_BITS, NAME, Negotiated, quirks};
use crate::handshake::Extension;
use std::fmt::{self, Write as _};

/// What a server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// What holds from now on.
    pub negotiated: Negotiated,
    /// The value of `Sec-WebSocket-Extensions` in the `101`.
    pub header: String,
}

/// A server's choice: the first of the client's `offers` that it can take, in the client's order of
/// preference. `None` when there is none: then the connection is not compressed.
///
/// `user_agent` is the request's; a client that is known to inflate wrongly is declined ([`super::QUIRKS`]).
///
/// ```
/// use tidegate_proto::deflate::{Deflate, accept};
/// use tidegate_proto::handshake::parse_offers;
///
/// let offers = parse_offers(b"permessage-deflate; client_max_window_bits").unwrap();
/// let accepted = accept(&offers, &Deflate::Shared.into(), None).unwrap();
/// assert_eq!(accepted.header, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
/// ```
pub fn accept(
    offers: &[Extension<'_>],
    config: &DeflateConfig,
    user_agent: Option<&str>,
) -> Option<Accepted> {
    if config.mode == Deflate::Off || user_agent.is_some_and(quirks::inflates_wrongly) {
        return None;
    }
    //= rfc7692#5.1  offers are tried in order; one that cannot be taken is declined, and the next tried.
    let ours = offers.iter().filter(|offer| offer.name == NAME);
    ours.filter_map(Params::parse)
        .find_map(|offer| answer(&offer, config))
}

/// The value of `Sec-WebSocket-Extensions` that a client offers; `None` when it wants no compression.
///
/// Asks for as little as possible: a window of the server's is never asked for, because some servers that
/// agree to one then forget it ([`super::QUIRKS`]).
pub fn offer(config: &DeflateConfig) -> Option<String> {
    if config.mode == Deflate::Off {
        return None;
    }
    let params = match config.dedicated() {
        None => Params {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            client_max_window_bits: Some(None),
            ..Params::default()
        },
        Some((bits, _)) => Params {
            server_no_context_takeover: config.server_no_context_takeover,
            client_no_context_takeover: config.client_no_context_takeover,
            client_max_window_bits: Some(Some(bits).filter(|bits| *bits < 15)),
            ..Params::default()
        },
    };
    Some(params.header())
}

/// A client's judgement of the server's answer, the elements of its `Sec-WebSocket-Extensions`; `None`
/// when the server declined.
///
/// # Errors
/// [`BadAnswer`]: the client must fail the connection (RFC 7692 §5.2).
pub fn judge(
    answer: &[Extension<'_>],
    config: &DeflateConfig,
) -> Result<Option<Negotiated>, BadAnswer> {
    let mut ours = answer.iter().filter(|element| element.name == NAME);
    let Some(element) = ours.next() else {
        return Ok(None);
    };
    if config.mode == Deflate::Off {
        return Err(BadAnswer::NotOffered);
    }
    if ours.next().is_some() {
        return Err(BadAnswer::Twice);
    }
    let params = Params::parse(element).ok_or(BadAnswer::Malformed)?;
    // A bare `client_max_window_bits` is an offer's form; an answer must name the bits.
    if params.client_max_window_bits == Some(None) {
        return Err(BadAnswer::Malformed);
    }
    let negotiated = params.negotiated();
    let offered = config.bits();
    //= rfc7692#7.1.2.2  the answer's window is not larger than the one offered.
    if params.client_max_window_bits.is_some() && negotiated.client_max_window_bits > offered {
        return Err(BadAnswer::WindowTooLarge);
    }
    // An answer without server_no_context_takeover, though we asked for it, breaks §7.1.1.1 but harms
    // nobody: we keep the window and can inflate either way.
    Ok(Some(negotiated))
}

/// The server's answer to our offer breaks RFC 7692; the server erred, the connection must be failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadAnswer {
    /// We did not offer the extension (RFC 6455 §4.1).
    NotOffered,
    /// The extension is accepted twice.
    Twice,
    /// A parameter is unknown, doubled, or has an impossible value (§7.1).
    Malformed,
    /// `client_max_window_bits` is more than we offered (§7.1.2.2).
    WindowTooLarge,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's answer on permessage-deflate is wrong: ")?;
        f.write_str(match self {
            BadAnswer::NotOffered => "it was not offered",
            BadAnswer::Twice => "it is accepted twice",
            BadAnswer::Malformed => "a parameter is unknown, doubled or out of range",
            BadAnswer::WindowTooLarge => "the client's window is larger than offered",
        })
    }
}

impl std::error::Error for BadAnswer {}

/// The parameters of one element, an offer's or an answer's.
#[derive(Clone, Copy, Default, Debug)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Given without a value by a client that takes any.
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    /// `None` when the element must be declined.
    fn parse(element: &Extension<'_>) -> Option<Params> {
        let mut params = Params::default();
        for (key, value) in &element.params {
            //= rfc7692#7.1  unknown parameters, doubled ones and impossible values decline the offer.
            let fresh = match (*key, value.as_deref()) {
                ("server_no_context_takeover", None) => {
                    !std::mem::replace(&mut params.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    !std::mem::replace(&mut params.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => params
                    .server_max_window_bits
                    .replace(bits(value)?)
                    .is_none(),
                ("client_max_window_bits", value) => {
                    let bits = value.map(|value| bits(value).ok_or(())).transpose().ok()?;
                    params.client_max_window_bits.replace(bits).is_none()
                }
                _ => false,
            };
            if !fresh {
                return None;
            }
        }
        Some(params)
    }

    fn header(&self) -> String {
        let mut header = String::from(NAME);
        if self.server_no_context_takeover {
            header.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            header.push_str("; client_no_context_takeover");
        }
        let infallible = "writing to a String cannot fail";
        if let Some(bits) = self.server_max_window_bits {
            write!(header, "; server_max_window_bits={bits}").expect(infallible);
        }
        match self.client_max_window_bits {
            None => {}
            Some(None) => header.push_str("; client_max_window_bits"),
            Some(Some(bits)) => {
                write!(header, "; client_max_window_bits={bits}").expect(infallible);
            }
        }
        header
    }

    /// What an answer with these parameters makes hold.
    fn negotiated(&self) -> Negotiated {
        Negotiated {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits.unwrap_or(15),
            client_max_window_bits: self.client_max_window_bits.flatten().unwrap_or(15),
        }
    }
}

/// A window in bits, 8 to 15, without leading zeros (§7.1.2).
fn bits(value: &str) -> Option<u8> {
    const VALUES: [&str; 8] = ["8", "9", "10", "11", "12", "13", "14", "15"];
    let at = VALUES.iter().position(|known| *known == value)?;
    Some(at as u8 + 8)
}

/// The answer to an offer, unless it asks for a window we cannot compress with.
fn answer(offer: &Params, config: &DeflateConfig) -> Option<Accepted> {
    if offer
        .server_max_window_bits
        .is_some_and(|bits| bits < MIN_COMPRESS_BITS)
    {
        return None;
    }
    let shared = config.dedicated().is_none();
    // Our window is the business of our memory alone unless the client asked for a small one: then the
    // answer says which. Saying so unasked is allowed, but some clients refuse it.
    let server_bits = offer
        .server_max_window_bits
        .map(|bits| bits.min(config.bits()));
    // The client's window costs us memory only where we keep it. To be asked it must have said it can.
    let client_bits = offer
        .client_max_window_bits
        .map(|hint| hint.unwrap_or(15).min(config.bits()))
        .filter(|bits| !shared && *bits < 15);
    //= rfc7692#7.1.1  a server may give up either context without being asked.
    let server_alone = shared || config.server_no_context_takeover;
    let client_alone = shared || config.client_no_context_takeover;
    let params = Params {
        server_no_context_takeover: server_alone || offer.server_no_context_takeover,
        client_no_context_takeover: client_alone || offer.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits.map(Some),
    };
    Some(Accepted {
        negotiated: params.negotiated(),
        header: params.header(),
    })
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::handshake::parse_offers;

    const SMALL: Deflate = Deflate::Dedicated {
        bits: 12,
        mem_level: 5,
    };
    const FULL: Deflate = Deflate::Dedicated {
        bits: 15,
        mem_level: 8,
    };

    fn answered(offers: &str, mode: Deflate) -> Option<String> {
        let offers = offers.replace("pmd", NAME);
        let offers = parse_offers(offers.as_bytes()).expect("a valid header");
        let accepted = accept(&offers, &mode.into(), None)?;
        Some(accepted.header.replace(NAME, "pmd"))
    }

    #[test]
    fn the_first_offer_that_can_be_taken_is_answered() {
        const BOTH: &str = "pmd; server_no_context_takeover; client_no_context_takeover";
        let rows = [
            // offers, mode, answer
            ("pmd", Deflate::Off, None),
            ("other", Deflate::Shared, None),
            ("x-webkit-deflate-frame", Deflate::Shared, None),
            ("pmd", Deflate::Shared, Some(BOTH)),
            ("other, pmd", Deflate::Shared, Some(BOTH)),
            ("pmd; client_max_window_bits", Deflate::Shared, Some(BOTH)),
            ("pmd; client_max_window_bits=8", Deflate::Shared, Some(BOTH)),
            ("pmd", FULL, Some("pmd")),
            ("pmd", SMALL, Some("pmd")),
            ("pmd; client_max_window_bits", FULL, Some("pmd")),
            (
                "pmd; client_max_window_bits",
                SMALL,
                Some("pmd; client_max_window_bits=12"),
            ),
            (
                "pmd; client_max_window_bits=10",
                SMALL,
                Some("pmd; client_max_window_bits=10"),
            ),
            (
                "pmd; client_max_window_bits=8",
                FULL,
                Some("pmd; client_max_window_bits=8"),
            ),
            ("pmd; client_max_window_bits=15", FULL, Some("pmd")),
            (
                "pmd; server_max_window_bits=10",
                FULL,
                Some("pmd; server_max_window_bits=10"),
            ),
            (
                "pmd; server_max_window_bits=15",
                FULL,
                Some("pmd; server_max_window_bits=15"),
            ),
            (
                "pmd; server_max_window_bits=15",
                SMALL,
                Some("pmd; server_max_window_bits=12"),
            ),
            (
                "pmd; server_max_window_bits=\"10\"",
                FULL,
                Some("pmd; server_max_window_bits=10"),
            ),
            (
                "pmd; server_no_context_takeover",
                FULL,
                Some("pmd; server_no_context_takeover"),
            ),
            (
                "pmd; client_no_context_takeover",
                FULL,
                Some("pmd; client_no_context_takeover"),
            ),
            // declined
            ("pmd; server_max_window_bits=8", FULL, None),
            ("pmd; server_max_window_bits=8", Deflate::Shared, None),
            ("pmd; server_max_window_bits", FULL, None),
            ("pmd; server_max_window_bits=7", FULL, None),
            ("pmd; server_max_window_bits=16", FULL, None),
            ("pmd; server_max_window_bits=09", FULL, None),
            ("pmd; server_max_window_bits=+9", FULL, None),
            ("pmd; server_max_window_bits=1e1", FULL, None),
            ("pmd; client_max_window_bits=16", FULL, None),
            ("pmd; client_max_window_bits=999999999999", FULL, None),
            (
                "pmd; client_max_window_bits; client_max_window_bits",
                FULL,
                None,
            ),
            (
                "pmd; client_max_window_bits=9; client_max_window_bits=9",
                FULL,
                None,
            ),
            (
                "pmd; server_max_window_bits=9; server_max_window_bits=10",
                FULL,
                None,
            ),
            ("pmd; server_no_context_takeover=1", FULL, None),
            ("pmd; client_no_context_takeover=true", FULL, None),
            (
                "pmd; server_no_context_takeover; server_no_context_takeover",
                FULL,
                None,
            ),
            (
                "pmd; client_no_context_takeover; client_no_context_takeover",
                FULL,
                None,
            ),
            ("pmd; mystery", FULL, None),
            ("pmd; Server_No_Context_Takeover", FULL, None),
            // the next one is taken
            ("pmd; server_max_window_bits=8, pmd", FULL, Some("pmd")),
            (
                "pmd; mystery, pmd; server_max_window_bits=16, pmd; server_max_window_bits=11, pmd",
                FULL,
                Some("pmd; server_max_window_bits=11"),
            ),
        ];
        for (offers, mode, expected) in rows {
            assert_eq!(
                answered(offers, mode).as_deref(),
                expected,
                "{offers}, {mode:?}"
            );
        }
    }

    #[test]
    fn offers_ask_for_little() {
        let rows = [
            (Deflate::Off, None),
            (
                Deflate::Shared,
                Some(
                    "pmd; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
                ),
            ),
            (FULL, Some("pmd; client_max_window_bits")),
            (SMALL, Some("pmd; client_max_window_bits=12")),
        ];
        for (mode, expected) in rows {
            let got = offer(&mode.into()).map(|offer| offer.replace(NAME, "pmd"));
            assert_eq!(got.as_deref(), expected);
        }
    }

    #[test]
    fn either_end_may_give_up_either_context_by_its_settings() {
        let config = |server_alone, client_alone| DeflateConfig {
            server_no_context_takeover: server_alone,
            client_no_context_takeover: client_alone,
            ..FULL.into()
        };
        let rows = [
            // settings, what they add to the offer and to the answer on "pmd"
            ((false, false), ""),
            ((true, false), "; server_no_context_takeover"),
            ((false, true), "; client_no_context_takeover"),
            (
                (true, true),
                "; server_no_context_takeover; client_no_context_takeover",
            ),
        ];
        let offers = parse_offers(NAME.as_bytes()).expect("a valid header");
        for ((server_alone, client_alone), added) in rows {
            let config = config(server_alone, client_alone);
            let offered = format!("{NAME}{added}; client_max_window_bits");
            assert_eq!(offer(&config), Some(offered));
            let accepted = accept(&offers, &config, None).expect("accepted");
            assert_eq!(accepted.header, format!("{NAME}{added}"));
            let Negotiated {
                server_no_context_takeover,
                client_no_context_takeover,
                ..
            } = accepted.negotiated;
            assert_eq!(
                (server_no_context_takeover, client_no_context_takeover),
                (server_alone, client_alone)
            );
        }
    }

    #[test]
    fn answers_are_judged() {
        let plain = Negotiated::default();
        let rows = [
            ("pmd", FULL, Ok(Some(plain))),
            ("pmd", Deflate::Shared, Ok(Some(plain))),
            ("other", FULL, Ok(None)),
            (
                "pmd; server_no_context_takeover; client_no_context_takeover",
                Deflate::Shared,
                Ok(Some(Negotiated {
                    server_no_context_takeover: true,
                    client_no_context_takeover: true,
                    ..plain
                })),
            ),
            // the server's window may be told unasked
            (
                "pmd; server_max_window_bits=8; client_max_window_bits=8",
                FULL,
                Ok(Some(Negotiated {
                    server_max_window_bits: 8,
                    client_max_window_bits: 8,
                    ..plain
                })),
            ),
            (
                "pmd; client_max_window_bits=13",
                SMALL,
                Err(BadAnswer::WindowTooLarge),
            ),
            (
                "pmd; client_max_window_bits",
                FULL,
                Err(BadAnswer::Malformed),
            ),
            (
                "pmd; server_max_window_bits=16",
                FULL,
                Err(BadAnswer::Malformed),
            ),
            ("pmd; mystery", FULL, Err(BadAnswer::Malformed)),
            (
                "pmd; server_no_context_takeover; server_no_context_takeover",
                FULL,
                Err(BadAnswer::Malformed),
            ),
            ("pmd, pmd", FULL, Err(BadAnswer::Twice)),
            ("pmd", Deflate::Off, Err(BadAnswer::NotOffered)),
        ];
        for (answer, mode, expected) in rows {
            let header = answer.replace("pmd", NAME);
            let elements = parse_offers(header.as_bytes()).expect("a valid header");
            assert_eq!(
                judge(&elements, &mode.into()),
                expected,
                "{answer}, {mode:?}"
            );
        }
    }

    #[test]
    fn what_our_client_offers_our_server_takes_and_the_client_agrees() {
        for client in [Deflate::Shared, FULL, SMALL] {
            for server in [Deflate::Shared, FULL, SMALL] {
                let header = offer(&client.into()).expect("an offer");
                let offers = parse_offers(header.as_bytes()).expect("a valid header");
                let accepted = accept(&offers, &server.into(), None).expect("accepted");
                let answer = parse_offers(accepted.header.as_bytes()).expect("a valid header");
                let judged = judge(&answer, &client.into());
                assert_eq!(judged, Ok(Some(accepted.negotiated)));
            }
        }
    }
}
