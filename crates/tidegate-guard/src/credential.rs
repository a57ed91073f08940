//! Who a client is, for how long, and until when it is believed: tokens, certificates, tickets, sessions, revocations. It reads
//! no clock, fetches no key and checks no signature itself: the time and a [`Verifier`] are passed in.

mod certificate;
mod revocation;
mod session;
mod source;
mod ticket;
mod token;

pub use certificate::named;
pub use revocation::{Revocation, Revocations, RevokedBy, TooMany};
pub use session::Sessions;
pub use source::{BEARER_SUBPROTOCOL, Presented, is_bearer, presented, without_ticket};
pub use ticket::{Tickets, TooManyTickets};
pub use token::{BadToken, Unsigned, Verifier, judge};

use tidegate_proto::Time;

/// Who a token, or a certificate, says its bearer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bearer {
    /// `sub`, or a certificate's name: who it is.
    pub subject: Box<str>,
    /// `jti`: this token, or this certificate.
    pub token: Option<Box<str>>,
    /// `sid`: the login it belongs to.
    pub session: Option<Box<str>>,
    /// `iat`, or a certificate's `notBefore`.
    pub issued: Option<Time>,
    /// `exp`, or a certificate's `notAfter`, and the leeway: the connection ends then.
    pub ends: Time,
    /// `roles`, or the words of `scope`.
    pub roles: Vec<Box<str>>,
    /// The claims that the route's rules across messages ask for, and the names in each.
    pub claims: Vec<(String, Vec<String>)>,
}

impl Bearer {
    /// Whether it has one of these roles, or none is asked.
    pub fn has_one_of(&self, roles: &[Box<str>]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }
}
