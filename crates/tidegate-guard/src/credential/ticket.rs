//! One-time tickets: a backend changes a token for one, a page puts it into the URL, and it opens one connection.
//! A ticket that leaks into a log is worth nothing by then. What is kept is its hash.

use super::{BadToken, Bearer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use tidegate_proto::Time;

/// Tickets given and not yet used.
#[derive(Default)]
pub struct Tickets {
    given: BTreeMap<[u8; 32], Ticket>,
}

struct Ticket {
    bearer: Bearer,
    route: Box<str>,
    origin: Option<Box<str>>,
    until: Time,
}

/// So many are waiting that another one would cost too much; come back when they are used or over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyTickets;

impl Tickets {
    /// Gives a ticket for a route and an origin (as the browser will send it). `random` comes from the operating
    /// system.
    ///
    /// # Errors
    /// [`TooManyTickets`].
    pub fn give(
        &mut self,
        random: [u8; 32],
        bearer: Bearer,
        route: &str,
        origin: Option<&str>,
        ttl: Duration,
        now: Time,
    ) -> Result<String, TooManyTickets> {
        if self.given.len() >= MOST {
            self.given.retain(|_, ticket| ticket.until > now);
        }
        if self.given.len() >= MOST {
            return Err(TooManyTickets);
        }
        let text = URL_SAFE_NO_PAD.encode(random);
        let ticket = Ticket {
            bearer,
            route: route.into(),
            origin: origin.map(Into::into),
            until: now + ttl,
        };
        self.given.insert(Sha256::digest(&text).into(), ticket);
        Ok(text)
    }

    /// Takes a ticket. Whatever comes of it, it is used.
    ///
    /// # Errors
    /// [`BadToken::Ticket`], or [`BadToken::Expired`] when the token behind it is over.
    pub fn redeem(
        &mut self,
        text: &str,
        route: &str,
        origin: Option<&str>,
        now: Time,
    ) -> Result<Bearer, BadToken> {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let ticket = self.given.remove(&hash).ok_or(BadToken::Ticket)?;
        let fits =
            ticket.until > now && *ticket.route == *route && ticket.origin.as_deref() == origin;
        match (fits, ticket.bearer.ends > now) {
            (true, true) => Ok(ticket.bearer),
            (true, false) => Err(BadToken::Expired),
            (false, _) => Err(BadToken::Ticket),
        }
    }
}

/// Cost: about 300 bytes each.
const MOST: usize = 65_536;
