//! Credentials that are believed no longer: by token, by user, by login. Each worker keeps the list; a change
//! reaches it by mail.

use super::Bearer;
use std::collections::BTreeMap;
use tidegate_proto::Time;

/// By what credentials are revoked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RevokedBy {
    /// `jti`: one token.
    Token,
    /// `sub`: all of a user's tokens that were issued until now.
    Subject,
    /// `sid`: all of one login, as a logout does.
    Session,
}

impl RevokedBy {
    /// The claim's name.
    pub fn name(self) -> &'static str {
        match self {
            RevokedBy::Token => "jti",
            RevokedBy::Subject => "sub",
            RevokedBy::Session => "sid",
        }
    }
}

/// What is revoked, when, and how long that is kept in mind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// By what.
    pub by: RevokedBy,
    /// Its value.
    pub value: Box<str>,
    /// When. Tokens of the same user that were issued later are good.
    pub at: Time,
    /// Until when it is kept: at least as long as the tokens last.
    pub until: Time,
}

impl Revocation {
    /// Whether it is about this bearer.
    pub fn hits(&self, bearer: &Bearer) -> bool {
        let value = Some(&*self.value);
        match self.by {
            RevokedBy::Token => bearer.token.as_deref() == value,
            RevokedBy::Session => bearer.session.as_deref() == value,
            // Seconds are what tokens count in: one of the same second is taken for an old one.
            RevokedBy::Subject => {
                *bearer.subject == *self.value
                    && bearer
                        .issued
                        .is_none_or(|issued| issued.unix_seconds() <= self.at.unix_seconds())
            }
        }
    }
}

/// The list is full: nothing was revoked. Revoke by user instead of by token, or for a shorter time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

/// The list.
#[derive(Clone, Default, Debug)]
pub struct Revocations {
    list: BTreeMap<(RevokedBy, Box<str>), Revocation>,
}

impl Revocations {
    /// Adds one; a later one about the same takes its place.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn add(&mut self, revocation: Revocation) -> Result<(), TooMany> {
        if self.list.len() >= MOST {
            let now = revocation.at;
            self.list.retain(|_, old| old.until > now);
        }
        let key = (revocation.by, revocation.value.clone());
        if self.list.len() >= MOST && !self.list.contains_key(&key) {
            return Err(TooMany);
        }
        self.list.insert(key, revocation);
        Ok(())
    }

    /// Whether a bearer is believed no longer.
    pub fn hit(&self, bearer: &Bearer, now: Time) -> bool {
        let keys = [
            bearer
                .token
                .as_deref()
                .map(|value| (RevokedBy::Token, value)),
            Some((RevokedBy::Subject, &*bearer.subject)),
            bearer
                .session
                .as_deref()
                .map(|value| (RevokedBy::Session, value)),
        ];
        keys.into_iter().flatten().any(|(by, value)| {
            let found = self.list.get(&(by, value.into()));
            found.is_some_and(|revocation| revocation.until > now && revocation.hits(bearer))
        })
    }
}

const MOST: usize = 16_384;
