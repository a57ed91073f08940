//! What publisher and subscribers of `bench fanout` speak with a server: how one subscribes, publishes, and finds the
//! payload in what comes. It opens nothing and counts nothing.

mod centrifuge;
mod nats;
mod protobuf;
mod socketio;

use super::args::DialectName;
use super::plan::Plan;
use centrifuge::Json;
use nats::Nats;
use protobuf::Protobuf;
use socketio::SocketIo;

/// A vocabulary.
pub(crate) enum Dialect {
    /// None: messages are payloads.
    Raw { binary: bool },
    /// Centrifuge's client protocol in JSON.
    CentrifugeJson(Json),
    /// The same in protobuf.
    CentrifugeProtobuf(Protobuf),
    /// Socket.IO 5 on Engine.IO 4, WebSocket only.
    SocketIo(SocketIo),
    /// The NATS client protocol.
    Nats(Nats),
}

/// A message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// What a message says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Heard<'a> {
    /// The subscription stands.
    Ready,
    /// A publication came.
    Payload(&'a [u8]),
    /// The server wants this said, because the handshake goes on so, or to see that we live.
    Answer(Frame),
    /// The server will not.
    Refused(String),
}

impl Dialect {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Dialect {
        let channel = plan.channel.clone().unwrap_or_default();
        match plan.dialect {
            None | Some(DialectName::Raw) => Dialect::Raw {
                binary: plan.binary,
            },
            Some(DialectName::CentrifugeJson) => Dialect::CentrifugeJson(Json::new(channel)),
            Some(DialectName::CentrifugeProtobuf) => {
                Dialect::CentrifugeProtobuf(Protobuf::new(channel))
            }
            Some(DialectName::Socketio) => Dialect::SocketIo(SocketIo::new(channel)),
            Some(DialectName::Nats) => Dialect::Nats(Nats::new(channel)),
        }
    }

    /// The subprotocols to offer.
    pub(crate) fn subprotocols(name: DialectName) -> &'static [&'static str] {
        match name {
            DialectName::CentrifugeProtobuf => &["centrifuge-protobuf"],
            _ => &[],
        }
    }

    /// A subscriber is one by being connected.
    pub(crate) fn needs_no_word(&self) -> bool {
        matches!(self, Dialect::Raw { .. })
    }

    /// What a subscriber says first, if it is the one to begin.
    pub(crate) fn hello(&self) -> Option<Frame> {
        match self {
            Dialect::Raw { .. } | Dialect::SocketIo(_) => None,
            Dialect::CentrifugeJson(json) => Some(json.hello()),
            Dialect::CentrifugeProtobuf(protobuf) => Some(protobuf.hello()),
            Dialect::Nats(nats) => Some(nats.hello()),
        }
    }

    /// The message that publishes `payload`.
    pub(crate) fn publish(&mut self, payload: &str) -> Frame {
        match self {
            Dialect::Raw { binary: false } => Frame::Text(payload.to_owned()),
            Dialect::Raw { binary: true } => Frame::Binary(payload.as_bytes().to_vec()),
            Dialect::CentrifugeJson(json) => json.publish(payload),
            Dialect::CentrifugeProtobuf(protobuf) => protobuf.publish(payload),
            Dialect::SocketIo(socketio) => socketio.publish(payload),
            Dialect::Nats(nats) => nats.publish(payload),
        }
    }

    /// Tells `each` what a message to subscriber `id` says.
    pub(crate) fn hear(&mut self, id: usize, message: &[u8], each: impl FnMut(Heard<'_>)) {
        let mut each = each;
        match self {
            Dialect::Raw { .. } => each(Heard::Payload(message)),
            Dialect::CentrifugeJson(_) => centrifuge::hear(message, each),
            Dialect::CentrifugeProtobuf(_) => protobuf::hear(message, each),
            Dialect::SocketIo(_) => {
                if let Some(heard) = socketio::hear(message) {
                    each(heard);
                }
            }
            Dialect::Nats(nats) => nats.hear(id, message, each),
        }
    }
}

/// All that is heard, for tests.
#[cfg(test)]
fn heard(dialect: &mut Dialect, message: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    dialect.hear(0, message, |said| {
        all.push(match said {
            Heard::Payload(payload) => String::from_utf8_lossy(payload).into_owned(),
            other => format!("{other:?}"),
        });
    });
    all
}
