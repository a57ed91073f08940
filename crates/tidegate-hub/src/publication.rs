//! A publication, where it stands in its channel, and who sent it; encoded once for each wire form.

use crate::codec::{Form, json, protobuf};
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
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

/// What is published: JSON as a rule; in namespaces with [`crate::Namespace::binary`] any octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// JSON that was checked.
    Json(RawJson),
    /// Octets that nobody looks into.
    Binary(Arc<[u8]>),
}

impl Payload {
    /// The octets, whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Payload::Json(json) => json.as_str().as_bytes(),
            Payload::Binary(octets) => octets,
        }
    }
}

/// Short texts by name, read by subscribers beside the data.
pub type Tags = BTreeMap<String, String>;

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
    conn_info: Range<usize>,
    chan_info: Range<usize>,
}

impl ClientInfo {
    /// A client with this id, user name and `conn_info`.
    pub fn new(id: u128, user: &str, conn_info: Option<&RawJson>) -> ClientInfo {
        let conn_info = conn_info.map(RawJson::as_str);
        ClientInfo::write(id, user.into(), conn_info, None)
    }

    /// The same client with a `chan_info`: what is known of it in one channel.
    pub(crate) fn in_channel(&self, chan_info: &RawJson) -> ClientInfo {
        let conn_info = Some(self.conn_info()).filter(|info| !info.is_empty());
        let user = Arc::clone(&self.user);
        ClientInfo::write(self.id, user, conn_info, Some(chan_info.as_str()))
    }

    fn write(id: u128, user: Arc<str>, conn: Option<&str>, chan: Option<&str>) -> ClientInfo {
        let mut json = String::from("{\"client\":");
        json::quote(&mut json, &client_name(id));
        json.push_str(",\"user\":");
        json::quote(&mut json, &user);
        let mut field = |name: &str, value: Option<&str>| {
            let Some(value) = value else { return 0..0 };
            json.push_str(name);
            let start = json.len();
            json.push_str(value);
            start..json.len()
        };
        let conn_info = field(",\"conn_info\":", conn);
        let chan_info = field(",\"chan_info\":", chan);
        json.push('}');
        json.shrink_to_fit();
        ClientInfo {
            id,
            user,
            json,
            conn_info,
            chan_info,
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

    /// What is known of the connection, as JSON; empty for nothing.
    pub fn conn_info(&self) -> &str {
        &self.json[self.conn_info.clone()]
    }

    /// What is known of it in this channel, as JSON; empty for nothing.
    pub fn chan_info(&self) -> &str {
        &self.json[self.chan_info.clone()]
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
/// copy; a clone is a reference count. The frame in the other wire form is made when somebody wants it.
#[derive(Clone)]
pub struct Publication(Arc<Whole>);

struct Whole {
    topic: TopicName,
    offset: u64,
    at: Time,
    info: Option<Arc<ClientInfo>>,
    /// Whether subscribers are told who published.
    publisher: bool,
    tags: Tags,
    /// In JSON, or in protobuf if the data are no JSON.
    frame: Encoded,
    form: Form,
    /// Where the `Publication` object stands in a JSON frame.
    object: Range<usize>,
    data: Range<usize>,
    other: OnceLock<Encoded>,
}

/// What a publication is made of.
pub(crate) struct Draft<'a> {
    pub(crate) data: &'a Payload,
    pub(crate) info: Option<&'a Arc<ClientInfo>>,
    pub(crate) tags: &'a Tags,
}

impl Publication {
    /// Encodes a publication; without an offset where the channel keeps no history, and without its sender
    /// where `publisher` is not told (see [`crate::Namespace::publisher`]).
    pub(crate) fn new(
        topic: &TopicName,
        offset: Option<u64>,
        at: Time,
        draft: &Draft<'_>,
        publisher: bool,
    ) -> Publication {
        let offset = offset.unwrap_or(0);
        let told = draft.info.filter(|_| publisher).map(|info| &**info);
        let (frame, form, object, data) = match draft.data {
            Payload::Json(data) => {
                let mut text = String::new();
                let sent = json::Sent {
                    channel: topic.as_str(),
                    offset,
                    data: data.as_str(),
                    info: told,
                    tags: draft.tags,
                    extra: None,
                };
                let (object, data) = json::write_publication(&mut text, &sent);
                (Encoded::text(&text), Form::Json, object, data)
            }
            Payload::Binary(data) => {
                let mut octets = Vec::new();
                let sent = protobuf::Sent {
                    channel: topic.as_str(),
                    offset,
                    data,
                    info: told,
                    tags: draft.tags,
                    extra: None,
                };
                let range = protobuf::write_publication(&mut octets, &sent);
                (Encoded::binary(&octets), Form::Protobuf, 0..0, range)
            }
        };
        Publication(Arc::new(Whole {
            topic: topic.clone(),
            offset,
            at,
            info: draft.info.cloned(),
            publisher,
            tags: draft.tags.clone(),
            frame,
            form,
            object,
            data,
            other: OnceLock::new(),
        }))
    }

    /// Its channel.
    pub fn topic(&self) -> &TopicName {
        &self.0.topic
    }

    /// Its number in the channel; 0 where the channel keeps no history.
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// When the home worker took it.
    pub fn at(&self) -> Time {
        self.0.at
    }

    /// Which client published it; `None` for the control plane.
    pub fn info(&self) -> Option<&Arc<ClientInfo>> {
        self.0.info.as_ref()
    }

    /// What stands beside the data.
    pub fn tags(&self) -> &Tags {
        &self.0.tags
    }

    /// Whether the data are JSON.
    pub fn is_json(&self) -> bool {
        self.0.form == Form::Json
    }

    /// The `Publication` object of the protocol: `{"data":…,"info":…,"offset":…}`; empty if the data are
    /// no JSON.
    pub fn json(&self) -> &str {
        self.text(&self.0.object)
    }

    /// The same with `time`, when it was taken, in milliseconds since 1970: for who looks back at a history. Its
    /// subscribers are not told, as no SDK would tell them.
    pub fn dated_json(&self) -> String {
        let open = self.json().strip_suffix('}');
        let time = self.at().unix_millis();
        open.map_or_else(String::new, |open| format!("{open},\"time\":{time}}}"))
    }

    /// What was published, if it is JSON; else empty.
    pub fn data(&self) -> &str {
        self.text(&self.0.data)
    }

    /// What was published.
    pub fn octets(&self) -> &[u8] {
        &self.0.frame.payload()[self.0.data.clone()]
    }

    /// The push that carries it, for clients that speak this form. `None` for data that are no JSON and a
    /// client that takes nothing else.
    pub(crate) fn frame(&self, form: Form) -> Option<&Encoded> {
        let whole = &*self.0;
        match (whole.form, form) {
            (native, wanted) if native == wanted => Some(&whole.frame),
            (Form::Json, Form::Protobuf) => Some(whole.other.get_or_init(|| {
                let mut octets = Vec::new();
                protobuf::write_publication(&mut octets, &self.sent(None));
                Encoded::binary(&octets)
            })),
            _ => None,
        }
    }

    /// Its parts, for JSON, with this offset (0 for none); without data if they are no JSON.
    pub(crate) fn sent_json<'a>(
        &'a self,
        offset: u64,
        extra: Option<(&'a str, &'a str)>,
    ) -> json::Sent<'a> {
        json::Sent {
            channel: self.0.topic.as_str(),
            offset,
            data: self.data(),
            info: self.told(),
            tags: &self.0.tags,
            extra,
        }
    }

    /// Its parts, for a protobuf message.
    pub(crate) fn sent<'a>(&'a self, extra: Option<(&'a str, &'a str)>) -> protobuf::Sent<'a> {
        protobuf::Sent {
            channel: self.0.topic.as_str(),
            offset: self.0.offset,
            data: self.octets(),
            info: self.told(),
            tags: &self.0.tags,
            extra,
        }
    }

    /// What it costs to keep.
    pub(crate) fn cost(&self) -> usize {
        let tags = self.0.tags.iter();
        let tags: usize = tags.map(|(name, text)| name.len() + text.len() + 48).sum();
        self.0.frame.payload().len() + tags + COST
    }

    /// Who published, as subscribers are told.
    fn told(&self) -> Option<&ClientInfo> {
        self.0.info.as_deref().filter(|_| self.0.publisher)
    }

    fn text(&self, range: &Range<usize>) -> &str {
        if self.0.form != Form::Json {
            return "";
        }
        let bytes = &self.0.frame.payload()[range.clone()];
        std::str::from_utf8(bytes).expect("a publication is encoded from a str, cut at its parts")
    }
}

impl fmt::Debug for Publication {
    /// Number and length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publication({}, {} B)", self.0.offset, self.0.data.len())
    }
}

/// What a publication costs beside its text: itself, its frame's header and counts, its log entry.
const COST: usize = 320;

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
        let info = Arc::new(info);
        let data = Payload::Json(RawJson::parse("{\"x\":[1,2]}").unwrap());
        let tags = Tags::from([("k".to_owned(), "v\"".to_owned())]);
        let draft = Draft {
            data: &data,
            info: Some(&info),
            tags: &tags,
        };
        let topic = TopicName::parse("q\"").unwrap();
        let at = Time::from_micros(5_000);
        let publication = Publication::new(&topic, Some(7), at, &draft, true);
        let frame = publication.frame(Form::Json).unwrap();
        let text = std::str::from_utf8(frame.payload()).unwrap();
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(whole["push"]["channel"], "q\"");
        assert_eq!(whole["push"]["pub"]["info"]["user"], "a\"b");
        assert_eq!(whole["push"]["pub"]["info"]["conn_info"]["n"], 1);
        assert_eq!(whole["push"]["pub"]["offset"], 7);
        assert_eq!(whole["push"]["pub"]["tags"]["k"], "v\"");
        assert_eq!(publication.data(), "{\"x\":[1,2]}");
        assert!(
            publication
                .json()
                .starts_with("{\"data\":{\"x\":[1,2]},\"info\":{\"client\":")
        );
        let bare = Draft {
            data: &data,
            info: None,
            tags: &Tags::new(),
        };
        let bare = Publication::new(&topic, None, at, &bare, true);
        assert_eq!(bare.json(), "{\"data\":{\"x\":[1,2]}}");
        assert_eq!(bare.dated_json(), "{\"data\":{\"x\":[1,2]},\"time\":5}");
    }

    #[test]
    fn octets_have_no_json_form() {
        let data = Payload::Binary([0, 255, 7].into());
        let draft = Draft {
            data: &data,
            info: None,
            tags: &Tags::new(),
        };
        let topic = TopicName::parse("b").unwrap();
        let publication = Publication::new(&topic, Some(1), Time::ZERO, &draft, true);
        assert!(publication.frame(Form::Json).is_none());
        assert!(publication.frame(Form::Protobuf).is_some());
        assert_eq!(publication.octets(), [0, 255, 7]);
        assert_eq!((publication.data(), publication.json()), ("", ""));
        assert_eq!(publication.dated_json(), "");
    }

    #[test]
    fn a_client_is_known_by_more_in_a_channel() {
        let conn = RawJson::parse("{\"n\":1}").unwrap();
        let info = ClientInfo::new(1, "ann", Some(&conn));
        let there = info.in_channel(&RawJson::parse("[2]").unwrap());
        assert_eq!((there.conn_info(), there.chan_info()), ("{\"n\":1}", "[2]"));
        assert_eq!((info.conn_info(), info.chan_info()), ("{\"n\":1}", ""));
        let json: serde_json::Value = serde_json::from_str(there.json()).unwrap();
        assert_eq!(json["chan_info"], serde_json::json!([2]));
        assert_eq!(json["client"], info.client());
    }
}
