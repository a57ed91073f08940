//! The client's side of the handshake, and of what follows a good one.

use super::{Peer, Seen};
use crate::bytes::Step;
use crate::expect::Expect;
use crate::random::Cuts;
use crate::settings::Settings;
use tidegate_proto::deflate::{self, Deflate};
use tidegate_proto::handshake::client::{Answer, ClientHandshake, ClientRequest};
use tidegate_proto::handshake::parse_offers;
use tidegate_proto::{HeadLimits, Role};

/// The nonce of RFC 6455 §1.3, which the table's accept value belongs to.
const NONCE: [u8; 16] = *b"the sample nonce";

pub(super) fn run(settings: &Settings, steps: &[Step], cuts: Cuts) -> Result<Seen, String> {
    let request = ClientRequest {
        subprotocols: &settings.protocols(),
        extensions: settings.offer(),
        ..ClientRequest::new("example.com", "/", NONCE)
    };
    let handshake = ClientHandshake::new(&request).map_err(|error| error.to_string())?;
    let mut dial = Dial {
        state: State::Head(Box::new(handshake), Vec::new()),
        settings,
        handshake: Vec::new(),
    };
    for step in steps {
        match step {
            Step::Bytes(bytes) => cuts
                .pieces(bytes)
                .into_iter()
                .for_each(|piece| dial.feed(piece)),
            other => dial.act(other, cuts),
        }
    }
    let mut seen = match dial.state {
        State::Open(peer) => peer.finish()?,
        State::Over => Seen::default(),
        State::Head(..) => {
            dial.handshake.push(Expect::Incomplete);
            Seen::default()
        }
    };
    seen.handshake = dial.handshake;
    Ok(seen)
}

struct Dial<'a> {
    state: State,
    settings: &'a Settings,
    handshake: Vec<Expect>,
}

enum State {
    Head(Box<ClientHandshake>, Vec<u8>),
    Open(Box<Peer>),
    Over,
}

impl Dial<'_> {
    fn feed(&mut self, piece: Vec<u8>) {
        match &mut self.state {
            State::Over => {}
            State::Open(peer) => peer.feed(piece),
            State::Head(handshake, octets) => {
                octets.extend(piece);
                let answer = handshake.parse_response(octets, &HeadLimits::default());
                let octets = std::mem::take(octets);
                self.answer(answer.map_err(|error| format!("{error:?}")), octets);
            }
        }
    }

    fn answer(&mut self, answer: Result<Answer, String>, octets: Vec<u8>) {
        match answer {
            Ok(Answer::Incomplete) => {
                if let State::Head(_, kept) = &mut self.state {
                    *kept = octets;
                }
            }
            Ok(Answer::Accepted(accepted)) => {
                let config = self.settings.config();
                let answer = accepted.extensions.as_deref().unwrap_or(",");
                let elements = parse_offers(answer.as_bytes()).unwrap_or_default();
                let negotiated = match deflate::judge(&elements, &config.deflate) {
                    Ok(negotiated) => negotiated,
                    Err(_) if config.deflate.mode == Deflate::Off => None,
                    Err(error) => return self.over(Expect::Error(format!("{error:?}"))),
                };
                self.handshake.push(Expect::Accepted(accepted.subprotocol));
                let mut peer = Peer::new(Role::Client, config, negotiated);
                peer.feed(octets[accepted.head_length..].to_vec());
                self.state = State::Open(Box::new(peer));
            }
            Ok(Answer::Refused(refused)) => self.over(Expect::Refused(refused.status)),
            Err(error) => {
                let name = error.split(|c: char| !c.is_ascii_alphanumeric()).next();
                self.over(Expect::Error(name.unwrap_or_default().to_owned()));
            }
        }
    }

    fn over(&mut self, expect: Expect) {
        self.handshake.push(expect);
        self.state = State::Over;
    }

    fn act(&mut self, step: &Step, cuts: Cuts) {
        if let State::Open(peer) = &mut self.state {
            peer.step(step, cuts);
        }
    }
}
