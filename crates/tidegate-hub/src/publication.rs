//! A publication, where it stands in its channel, and who sent it; encoded once, never again.

use crate::codec::json;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tidegate_proto::{Encoded, Time};

/// Deepest nesting of arrays and objects that is passed on. Deeper data would crash the parsers of others.
pub const MAX_DEPTH: usize = 128;

/// JSON that was checked: one value, at most [`MAX_DEPTH`] deep, without line breaks between its tokens
/// (the protocol separates objects by them). Otherwise it is as its sender wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawJson(Arc<str>);

/// The text is not one JSON value, or it is nested more than [`MAX_DEPTH`] deep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadJson;

impl fmt::Display for BadJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a JSON value of at most {MAX_DEPTH} levels")
    }
}

impl std::error::Error for BadJson {}

impl RawJson {
    /// Checks a text.
    ///
    /// # Errors
    /// [`BadJson`] says what is not taken.
    pub fn parse(text: &str) -> Result<RawJson, BadJson> {
        match serde_json::from_str::<&serde_json::value::RawValue>(text) {
            Ok(value) => RawJson::from_value(value),
            Err(_) => Err(BadJson),
        }
    }

    /// Checks the depth of a value that is known to be JSON, and takes its line breaks out.
    pub(crate) fn from_value(value: &serde_json::value::RawValue) -> Result<RawJson, BadJson> {
        let text = value.get();
        if json::depth(text) > MAX_DEPTH {
            return Err(BadJson);
        }
        // A string cannot hold a bare line break, so each one stands between tokens.
        if text.bytes().any(|b| b == b'\n' || b == b'\r') {
            Ok(RawJson(text.replace(['\n', '\r'], " ").into()))
        } else {
            Ok(RawJson(text.into()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells one life of a channel's history from another: 64 random bits, sixteen hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Reads what [`Epoch`] displays; `None` for anything else, which then equals no epoch.
    pub fn parse(text: &str) -> Option<Epoch> {
        let digits =
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Epoch))?
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a channel's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The number of the newest publication; 0 before the first. Numbers rise but may skip.
    pub offset: u64,
    /// In which life of the history.
    pub epoch: Epoch,
}

/// Who a client is, as others see it; its JSON is written once.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientInfo {
    id: u128,
    user: Arc<str>,
    json: String,
}

impl ClientInfo {
    /// A client with this id, user name and `conn_info`.
    pub fn new(id: u128, user: &str, conn_info: Option<&RawJson>) -> ClientInfo {
        let mut json = String::from("{\"client\":");
        json::quote(&mut json, &client_name(id));
        json.push_str(",\"user\":");
        json::quote(&mut json, user);
        if let Some(info) = conn_info {
            json.push_str(",\"conn_info\":");
            json.push_str(info.as_str());
        }
        json.push('}');
        json.shrink_to_fit();
        ClientInfo {
            id,
            user: user.into(),
            json,
        }
    }

    /// The id as a number; all 128 bits are random but six.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The id as clients see it: a UUID.
    pub fn client(&self) -> String {
        client_name(self.id)
    }

    /// The user's name; empty for an anonymous one.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The `ClientInfo` object of the protocol.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// An id from random bits, with the version and variant bits of a random UUID (RFC 9562 §5.4).
pub(crate) fn client_id(high: u64, low: u64) -> u128 {
    let bits = (u128::from(high) << 64) | u128::from(low);
    let version = (bits & !(0xf << 76)) | (0x4 << 76);
    (version & !(0x3 << 62)) | (0x2 << 62)
}

fn client_name(id: u128) -> String {
    let hex = format!("{id:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// One publication. It is kept as the very frame that its subscribers get, so a history costs no second
/// copy; a clone is a reference count.
#[derive(Clone)]
pub struct Publication {
    offset: u64,
    at: Time,
    frame: Encoded,
    object: Range<usize>,
    data: Range<usize>,
}

impl Publication {
    /// Encodes a publication; without an offset where the channel keeps no history.
    pub(crate) fn new(
        channel: &str,
        offset: Option<u64>,
        at: Time,
        data: &RawJson,
        info: Option<&ClientInfo>,
    ) -> Publication {
        let room = data.as_str().len() + channel.len() + info.map_or(0, |i| i.json().len()) + 80;
        let mut text = String::with_capacity(room);
        text.push_str("{\"push\":{\"channel\":");
        json::quote(&mut text, channel);
        text.push_str(",\"pub\":");
        let start = text.len();
        text.push_str("{\"data\":");
        let data_start = text.len();
        text.push_str(data.as_str());
        let data_end = text.len();
        if let Some(info) = info {
            text.push_str(",\"info\":");
            text.push_str(info.json());
        }
        if let Some(offset) = offset {
            text.push_str(",\"offset\":");
            text.push_str(&offset.to_string());
        }
        text.push('}');
        let end = text.len();
        text.push_str("}}");
        Publication {
            offset: offset.unwrap_or(0),
            at,
            frame: Encoded::text(&text),
            object: start..end,
            data: data_start..data_end,
        }
    }

    /// Its number in the channel; 0 where the channel keeps no history.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// When the home worker took it.
    pub fn at(&self) -> Time {
        self.at
    }

    /// The `Publication` object of the protocol: `{"data":…,"info":…,"offset":…}`.
    pub fn json(&self) -> &str {
        self.part(&self.object)
    }

    /// What was published.
    pub fn data(&self) -> &str {
        self.part(&self.data)
    }

    /// The push that carries it.
    pub(crate) fn frame(&self) -> &Encoded {
        &self.frame
    }

    /// What it costs to keep.
    pub(crate) fn cost(&self) -> usize {
        self.frame.payload().len() + COST
    }

    fn part(&self, range: &Range<usize>) -> &str {
        let bytes = &self.frame.payload()[range.clone()];
        std::str::from_utf8(bytes).expect("a publication is encoded from a str, cut at its parts")
    }
}

impl fmt::Debug for Publication {
    /// Number and length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publication({}, {} B)", self.offset, self.data.len())
    }
}

/// What a publication costs beside its text: itself, its frame's header and counts, its log entry.
const COST: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_checked_and_loses_its_line_breaks() {
        assert_eq!(
            RawJson::parse("{\"a\":\n\r 1}").unwrap().as_str(),
            "{\"a\":   1}"
        );
        assert_eq!(RawJson::parse(" [\"\\n\"] ").unwrap().as_str(), "[\"\\n\"]");
        for bad in ["", "{", "1 2", "{'a':1}", "nul", "\"\n\""] {
            assert_eq!(RawJson::parse(bad), Err(BadJson), "{bad:?}");
        }
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(RawJson::parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(RawJson::parse(&nested(MAX_DEPTH + 1)), Err(BadJson));
        assert_eq!(RawJson::parse(&nested(10_000)), Err(BadJson));
    }

    #[test]
    fn ids_look_like_random_uuids() {
        assert_eq!(
            client_name(client_id(0, 0)),
            "00000000-0000-4000-8000-000000000000"
        );
        assert_eq!(
            client_name(client_id(u64::MAX, u64::MAX)),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }

    #[test]
    fn epochs_read_only_what_they_write() {
        let epoch = Epoch(0x00ab_cdef_0123_4567);
        assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        for bad in [
            "",
            "0",
            "00ABCDEF01234567",
            "+0abcdef01234567",
            "00abcdef012345678",
        ] {
            assert_eq!(Epoch::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_publication_is_its_frame_and_its_parts() {
        let info = ClientInfo::new(client_id(1, 2), "a\"b", Some(&RawJson("{\"n\":1}".into())));
        let data = RawJson::parse("{\"x\":[1,2]}").unwrap();
        let publication = Publication::new("q\"", Some(7), Time::ZERO, &data, Some(&info));
        let text = std::str::from_utf8(publication.frame().payload()).unwrap();
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(whole["push"]["channel"], "q\"");
        assert_eq!(whole["push"]["pub"]["info"]["user"], "a\"b");
        assert_eq!(whole["push"]["pub"]["info"]["conn_info"]["n"], 1);
        assert_eq!(whole["push"]["pub"]["offset"], 7);
        assert_eq!(publication.data(), "{\"x\":[1,2]}");
        assert!(
            publication
                .json()
                .starts_with("{\"data\":{\"x\":[1,2]},\"info\":{\"client\":")
        );
        let bare = Publication::new("c", None, Time::ZERO, &data, None);
        assert_eq!(bare.json(), "{\"data\":{\"x\":[1,2]}}");
    }
}
