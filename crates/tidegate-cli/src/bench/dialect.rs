//! What publisher and subscribers of `bench fanout` speak with a server: how one subscribes, publishes, and finds the
//! payload in what comes. It opens nothing and counts nothing.

use super::args::DialectName;
use super::plan::Plan;

/// A vocabulary.
pub(crate) enum Dialect {
    /// None: messages are payloads.
    Raw { binary: bool },
    /// Centrifuge's client protocol in JSON, one command or reply a line.
    CentrifugeJson { channel: String, commands: u64 },
}

/// What a message says.
pub(crate) enum Heard<'a> {
    /// The subscription stands.
    Ready,
    /// A publication came.
    Payload(&'a [u8]),
    /// The server asks whether we live; this is the answer.
    Answer(&'static str),
    /// The server will not.
    Refused(String),
}

impl Dialect {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Dialect {
        let channel = || plan.channel.clone().unwrap_or_default();
        match plan.dialect {
            None | Some(DialectName::Raw) => Dialect::Raw {
                binary: plan.binary,
            },
            Some(DialectName::CentrifugeJson) => Dialect::CentrifugeJson {
                channel: channel(),
                commands: 2,
            },
        }
    }

    /// Messages are binary.
    pub(crate) fn binary(&self) -> bool {
        match self {
            Dialect::Raw { binary } => *binary,
            Dialect::CentrifugeJson { .. } => false,
        }
    }

    /// What a subscriber says first; `None`: it is one by being connected.
    pub(crate) fn hello(&self) -> Option<String> {
        match self {
            Dialect::Raw { .. } => None,
            Dialect::CentrifugeJson { channel, .. } => {
                let channel = serde_json::Value::from(channel.as_str());
                Some(format!(
                    "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":{channel}}}}}"
                ))
            }
        }
    }

    /// The message that publishes `payload`.
    pub(crate) fn publish(&mut self, payload: &str) -> String {
        match self {
            Dialect::Raw { .. } => payload.to_owned(),
            Dialect::CentrifugeJson { channel, commands } => {
                *commands += 1;
                let channel = serde_json::Value::from(channel.as_str());
                format!(
                    "{{\"id\":{commands},\"publish\":{{\"channel\":{channel},\"data\":\"{MARK}{payload}\"}}}}"
                )
            }
        }
    }

    /// Tells `each` what a message says.
    pub(crate) fn hear<'a>(&self, message: &'a [u8], mut each: impl FnMut(Heard<'a>)) {
        match self {
            Dialect::Raw { .. } => each(Heard::Payload(message)),
            Dialect::CentrifugeJson { .. } => {
                for line in message.split(|byte| *byte == b'\n') {
                    if let Some(heard) = centrifuge_line(line) {
                        each(heard);
                    }
                }
            }
        }
    }
}

/// Begins the data of each publication of ours.
const MARK: &str = "tg:";

fn centrifuge_line(line: &[u8]) -> Option<Heard<'_>> {
    if line == b"{}" {
        return Some(Heard::Answer("{}"));
    }
    if let Some(at) = line.windows(4).position(|window| window == b"\"tg:") {
        let rest = &line[at + 1 + MARK.len()..];
        let end = rest.iter().position(|byte| *byte == b'"')?;
        return Some(Heard::Payload(&rest[..end]));
    }
    let reply: serde_json::Value = serde_json::from_slice(line).ok()?;
    if let Some(error) = reply.get("error") {
        return Some(Heard::Refused(error.to_string()));
    }
    reply.get("subscribe").map(|_| Heard::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centrifuge_replies_are_told_apart() {
        let dialect = Dialect::CentrifugeJson {
            channel: "a".into(),
            commands: 2,
        };
        let mut heard = Vec::new();
        let message = b"{\"id\":1,\"connect\":{\"client\":\"x\"}}\n{\"id\":2,\"subscribe\":{}}\n{}\n\
            {\"push\":{\"channel\":\"a\",\"pub\":{\"data\":\"tg:payload\",\"offset\":1}}}\n{\"id\":3,\"publish\":{}}\n\
            {\"id\":4,\"error\":{\"code\":103}}\nnonsense";
        dialect.hear(message, |said| {
            heard.push(match said {
                Heard::Ready => "ready".into(),
                Heard::Payload(payload) => String::from_utf8_lossy(payload).into_owned(),
                Heard::Answer(answer) => answer.to_owned(),
                Heard::Refused(why) => why,
            });
        });
        assert_eq!(heard, ["ready", "{}", "payload", "{\"code\":103}"]);
    }

    #[test]
    fn a_publication_is_valid_json_and_heard_again() {
        let mut dialect = Dialect::CentrifugeJson {
            channel: "a \"b\"".into(),
            commands: 2,
        };
        let command = dialect.publish("x:1;");
        let value: serde_json::Value = serde_json::from_str(&command).unwrap();
        assert_eq!(value["publish"]["channel"], "a \"b\"");
        assert_eq!(value["id"], 3);
        let mut found = false;
        dialect.hear(command.as_bytes(), |said| {
            found |= matches!(said, Heard::Payload(b"x:1;"));
        });
        assert!(found);
    }
}
