//! The two spellings of the client protocol, and pushes that are encoded once in each. It decides nothing.

pub mod json;
pub mod protobuf;

use crate::reply::{Push, Reply};
use crate::topic::TopicName;
use std::sync::{Arc, OnceLock};
use tidegate_proto::Encoded;

/// How a client spells the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Form {
    /// Objects separated by line breaks, in text messages.
    #[default]
    Json,
    /// Messages with their length in front, in binary messages.
    Protobuf,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Protobuf => "protobuf",
        }
    }

    /// The hub's ping: an empty reply.
    pub(crate) fn ping(self) -> Encoded {
        match self {
            Form::Json => Encoded::text("{}"),
            Form::Protobuf => Encoded::binary(&[0]),
        }
    }

    /// Appends a reply to those that go out in one frame.
    pub(crate) fn append(self, frame: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
        match self {
            Form::Json => {
                if !frame.is_empty() {
                    frame.push(b'\n');
                }
                let mut text = String::new();
                json::write_reply(&mut text, id, reply);
                frame.extend_from_slice(text.as_bytes());
            }
            Form::Protobuf => protobuf::write_reply(frame, id, reply),
        }
    }

    /// One frame with these pushes.
    pub(crate) fn pushes(self, channel: &str, pushes: &[Push]) -> Encoded {
        match self {
            Form::Json => {
                let mut text = String::new();
                for push in pushes {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    json::write_push(&mut text, channel, push);
                }
                Encoded::text(&text)
            }
            Form::Protobuf => {
                let mut octets = Vec::new();
                for push in pushes {
                    protobuf::write_push(&mut octets, channel, push);
                }
                Encoded::binary(&octets)
            }
        }
    }
}

/// Pushes to many clients in one frame, encoded once in each form that somebody wants.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Both>);

struct Both {
    topic: TopicName,
    pushes: Vec<Push>,
    json: OnceLock<Encoded>,
    protobuf: OnceLock<Encoded>,
}

impl Shared {
    pub(crate) fn new(topic: &TopicName, pushes: Vec<Push>) -> Shared {
        Shared(Arc::new(Both {
            topic: topic.clone(),
            pushes,
            json: OnceLock::new(),
            protobuf: OnceLock::new(),
        }))
    }

    pub(crate) fn frame(&self, form: Form) -> &Encoded {
        let both = &*self.0;
        let place = match form {
            Form::Json => &both.json,
            Form::Protobuf => &both.protobuf,
        };
        place.get_or_init(|| form.pushes(both.topic.as_str(), &both.pushes))
    }
}
