//! The handler that the table runs on: it echoes, takes its limits from the URL's query, and keeps what it
//! was told. It is for tests; what it keeps grows for ever.

use crate::settings::Settings;
use std::sync::Arc;
use tidegate_proto::{
    Accept, CloseCode, Closed, Handler, Incoming, Opening, Outboxes, PeerId, Rejection, Request,
};

/// Echoes each message, and remembers it.
#[derive(Default, Debug)]
pub struct TableEcho {
    /// Messages delivered: whether text, and the payload.
    pub messages: Vec<(bool, Vec<u8>)>,
    /// Ends told.
    pub closed: Vec<Closed>,
    peer: Option<PeerId>,
    settings: Option<Settings>,
}

/// What the application is asked to do to its newest peer.
#[derive(Clone, Debug)]
pub enum Act {
    /// Close with this code and reason.
    Close(u16, String),
    /// Send this text.
    Send(String),
}

impl TableEcho {
    /// An echo that holds to `settings` whatever the query says.
    pub fn with(settings: Settings) -> TableEcho {
        TableEcho {
            settings: Some(settings),
            ..TableEcho::default()
        }
    }
}

impl Handler for TableEcho {
    type Mail = Act;

    fn open(&mut self, peer: PeerId, request: &Request, _: &mut Outboxes<'_, Act>) -> Opening {
        let settings = match &self.settings {
            Some(settings) => Ok(settings.clone()),
            None => Settings::from_query(request.query().unwrap_or_default()),
        };
        let settings = match settings {
            Ok(settings) => settings,
            Err(why) => return Opening::Reject(Rejection::new(404, why)),
        };
        self.peer = Some(peer);
        let ours = settings.protocols();
        let mut chosen = ours
            .iter()
            .filter(|name| request.subprotocols().any(|o| o == **name));
        let mut accept = Accept::new(Arc::new(settings.config()));
        accept.subprotocol = chosen.next().map(|name| (*name).to_owned());
        Opening::Accept(accept)
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, Act>) {
        let text = matches!(message, Incoming::Text(_));
        self.messages.push((text, message.as_bytes().to_vec()));
        out.send_incoming(peer, message);
    }

    fn mail(&mut self, act: Act, out: &mut Outboxes<'_, Act>) {
        let Some(peer) = self.peer else { return };
        match act {
            Act::Close(code, reason) => {
                let code = CloseCode::new(code).expect("the table closes with codes that exist");
                out.close(peer, code, &reason);
            }
            Act::Send(text) => drop(out.send_text(peer, &text)),
        }
    }

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, Act>) {
        self.closed.push(why.clone());
    }
}
