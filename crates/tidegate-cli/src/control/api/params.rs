//! What the methods of the HTTP API are told. Names that are not here are passed over: clients of other
//! versions send more. It checks nothing that needs the hub.

use super::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tidegate_hub::{Outgoing, Payload, RawJson, Target};
use tidegate_proto::Time;

/// `publish` and `broadcast`. (One struct: serde cannot flatten raw JSON.)
#[derive(Deserialize)]
pub(super) struct Publish {
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    pub(super) channels: Vec<String>,
    #[serde(default, deserialize_with = "even_null")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: Option<String>,
    #[serde(default)]
    skip_history: bool,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

impl Publish {
    /// What is to be published.
    pub(super) fn outgoing(&self) -> Result<Outgoing, ApiError> {
        let data = match (self.b64data.as_deref(), &self.data) {
            (Some(text), _) if !text.is_empty() => payload(decode("b64data", text)?),
            (_, Some(data)) => Payload::Json(json("data", data)?),
            (_, None) => return Err(ApiError::bad("data is missing")),
        };
        let tags = self.tags.clone().unwrap_or_default();
        let size: usize = tags
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if size > MAX_TAGS {
            return Err(ApiError::bad("tags are at most 4096 bytes in all"));
        }
        let key = self.idempotency_key.clone().filter(|key| !key.is_empty());
        if key.as_ref().is_some_and(|key| key.len() > MAX_KEY) {
            return Err(ApiError::bad("idempotency_key is at most 128 bytes"));
        }
        Ok(Outgoing {
            data,
            tags,
            skip_history: self.skip_history,
            idempotency_key: key,
        })
    }
}

/// Methods about a channel alone.
#[derive(Deserialize)]
pub(super) struct Channel {
    pub(super) channel: String,
}

/// `channels`.
#[derive(Deserialize)]
pub(super) struct Channels {
    #[serde(default)]
    pub(super) pattern: Option<String>,
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

/// A place in a history, as the client remembers it.
#[derive(Deserialize)]
pub(super) struct Since {
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) epoch: String,
}

/// `history`.
#[derive(Deserialize)]
pub(super) struct History {
    pub(super) channel: String,
    /// 0 for the position alone, -1 for all there is.
    #[serde(default)]
    pub(super) limit: Option<i64>,
    #[serde(default)]
    pub(super) since: Option<Since>,
    #[serde(default)]
    pub(super) reverse: bool,
}

/// `subscribe`, `unsubscribe`, `disconnect`, `refresh`, `connections`.
#[derive(Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) client: Option<String>,
    #[serde(default)]
    whitelist: Option<Vec<String>>,
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    b64info: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: Option<String>,
    #[serde(default)]
    pub(super) recover_since: Option<Since>,
    #[serde(default)]
    pub(super) disconnect: Option<DisconnectParams>,
    #[serde(default)]
    pub(super) expired: bool,
    #[serde(default)]
    expire_at: Option<i64>,
}

/// Code and reason of a disconnect.
#[derive(Deserialize)]
pub(super) struct DisconnectParams {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) reason: String,
}

impl User {
    /// Which connections are meant.
    pub(super) fn target(&self) -> Result<Target, ApiError> {
        let client = self.client.clone().filter(|client| !client.is_empty());
        if self.user.is_empty() && client.is_none() {
            return Err(ApiError::bad(
                "user is missing (for anonymous clients name the client)",
            ));
        }
        Ok(Target {
            user: self.user.clone(),
            client,
            except: self.whitelist.clone().unwrap_or_default(),
        })
    }

    /// The channel, which this method needs.
    pub(super) fn channel(&self) -> Result<&str, ApiError> {
        self.channel
            .as_deref()
            .ok_or_else(|| ApiError::bad("channel is missing"))
    }

    /// What others see of the client in the channel.
    pub(super) fn info(&self) -> Result<Option<RawJson>, ApiError> {
        optional("info", &self.info, self.b64info.as_deref())
    }

    /// What the client is told with its subscription.
    pub(super) fn data(&self) -> Result<Option<RawJson>, ApiError> {
        optional("data", &self.data, self.b64data.as_deref())
    }

    /// When it ends; zero and less mean never.
    pub(super) fn expire_at(&self) -> Option<Time> {
        self.expire_at.and_then(time)
    }
}

/// `revoke_token` and `invalidate_user_tokens`.
#[derive(Deserialize)]
pub(super) struct Revoke {
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    issued_before: Option<i64>,
    #[serde(default)]
    expire_at: Option<i64>,
}

impl Revoke {
    /// Tokens issued before then.
    pub(super) fn issued_before(&self) -> Option<Time> {
        self.issued_before.and_then(time)
    }

    /// Until when it is remembered.
    pub(super) fn until(&self) -> Option<Time> {
        self.expire_at.and_then(time)
    }
}

/// `batch`: each command is an object with one method.
#[derive(Deserialize)]
pub(super) struct Batch {
    pub(super) commands: Vec<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    pub(super) parallel: bool,
}

/// The older form of a request: one address, the method inside.
#[derive(Deserialize)]
pub(super) struct Legacy {
    pub(super) method: String,
    #[serde(default)]
    pub(super) params: Option<Box<RawValue>>,
}

/// `null` is data like any other; only what is not there is missing.
fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

fn time(seconds: i64) -> Option<Time> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    Some(Time::from_micros(seconds.saturating_mul(1_000_000)))
}

fn optional(
    name: &str,
    json_value: &Option<Box<RawValue>>,
    encoded: Option<&str>,
) -> Result<Option<RawJson>, ApiError> {
    match (encoded, json_value) {
        (Some(text), _) if !text.is_empty() => {
            let octets = decode(name, text)?;
            let text = String::from_utf8(octets).ok();
            let parsed = text.and_then(|text| RawJson::parse(&text).ok());
            parsed
                .map(Some)
                .ok_or_else(|| ApiError::bad(format!("b64{name} must be JSON in base64")))
        }
        (_, Some(value)) => json(name, value).map(Some),
        (_, None) => Ok(None),
    }
}

fn json(name: &str, value: &RawValue) -> Result<RawJson, ApiError> {
    RawJson::parse(value.get()).map_err(|error| ApiError::bad(format!("{name}: {error}")))
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, ApiError> {
    STANDARD
        .decode(text)
        .map_err(|_| ApiError::bad(format!("{name} is not base64")))
}

/// Octets that are JSON are JSON: every client can read them then.
fn payload(octets: Vec<u8>) -> Payload {
    let json = std::str::from_utf8(&octets)
        .ok()
        .and_then(|text| RawJson::parse(text).ok());
    json.map_or_else(|| Payload::Binary(octets.into()), Payload::Json)
}

const MAX_TAGS: usize = 4_096;
const MAX_KEY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(text: &str) -> Result<Outgoing, String> {
        let publish: Publish = serde_json::from_str(text).expect("an object");
        publish
            .outgoing()
            .map_err(|error| error.message.into_owned())
    }

    #[test]
    fn data_come_as_json_or_as_base64() {
        let json = |text| outgoing(text).map(|out| out.data).expect("data");
        let three = Payload::Json(RawJson::parse("[1, 2.50]").expect("JSON"));
        assert_eq!(
            json(r#"{"data":[1, 2.50],"b64data":""}"#),
            three,
            "as it was written"
        );
        assert_eq!(json(r#"{"data":null,"b64data":"WzEsIDIuNTBd"}"#), three);
        let null = Payload::Json(RawJson::parse("null").expect("JSON"));
        assert_eq!(json(r#"{"data":null}"#), null);
        assert_eq!(
            json(r#"{"b64data":"AAEC"}"#),
            Payload::Binary([0, 1, 2].as_slice().into())
        );
        for (bad, why) in [
            ("{}", "missing"),
            (r#"{"b64data":"?"}"#, "base64"),
            (r#"{"data":1,"tags":{"a":"AAAA"}}"#, "tags"),
            (r#"{"data":1,"idempotency_key":"K"}"#, "idempotency_key"),
        ] {
            let bad = bad
                .replace("AAAA", &"a".repeat(5_000))
                .replace('K', &"k".repeat(129));
            assert!(outgoing(&bad).expect_err("refused").contains(why));
        }
    }

    #[test]
    fn nobody_is_not_everybody() {
        let target = |text: &str| {
            serde_json::from_str::<User>(text)
                .expect("an object")
                .target()
        };
        assert!(target("{}").is_err());
        assert!(target(r#"{"user":"","client":""}"#).is_err());
        assert!(target(r#"{"user":"","client":"x"}"#).is_ok());
        let ann =
            target(r#"{"user":"ann","whitelist":["a"],"session":"ignored"}"#).expect("a target");
        assert_eq!((ann.user.as_str(), ann.except.len()), ("ann", 1));
    }

    #[test]
    fn times_before_the_first_second_mean_never() {
        assert_eq!([time(0), time(-5)], [None, None]);
        assert_eq!(time(7).map(Time::unix_seconds), Some(7));
    }
}
