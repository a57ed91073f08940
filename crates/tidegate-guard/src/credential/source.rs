//! Where in a request a token stands, or whether its connection has brought a certificate. The first source of the
//! policy that holds one decides, good or bad; it is never looked for where the policy does not say so.

use super::BadToken;
use crate::policy::{Auth, Source};
use std::borrow::Cow;
use tidegate_proto::Request;

/// What a request brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presented<'a> {
    /// A token.
    Token(Cow<'a, str>),
    /// A ticket, to be redeemed.
    Ticket(Cow<'a, str>),
    /// The certificate that the handshake has verified, to be read.
    Certificate(&'a [u8]),
    /// Nothing yet: the first message is the token.
    Later,
    /// Nothing, and nothing will come.
    Nothing,
}

/// An offered subprotocol that begins so is a token, for browsers, which can set no other field.
pub const BEARER_SUBPROTOCOL: &str = "bearer.";

/// Whether an offered subprotocol is a token: it is neither forwarded nor answered nor written down.
pub fn is_bearer(subprotocol: &str) -> bool {
    subprotocol.starts_with(BEARER_SUBPROTOCOL)
}

/// Finds the credential.
///
/// # Errors
/// [`BadToken::Twice`] when a source holds two, [`BadToken::Malformed`] when it holds none that can be read.
pub fn presented<'a>(request: &'a Request, auth: &Auth) -> Result<Presented<'a>, BadToken> {
    for source in &auth.sources {
        let found = match source {
            Source::Header => header(request)?.map(|token| Presented::Token(token.into())),
            Source::Cookie => {
                cookie(request, &auth.cookie)?.map(|token| Presented::Token(token.into()))
            }
            Source::Subprotocol => {
                let offered = request
                    .subprotocols()
                    .filter_map(|name| name.strip_prefix(BEARER_SUBPROTOCOL));
                only(offered)?.map(|token| Presented::Token(token.into()))
            }
            Source::Ticket => ticket(request)?.map(Presented::Ticket),
            Source::Certificate => request.certificate().map(Presented::Certificate),
            Source::Message => Some(Presented::Later),
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Ok(Presented::Nothing)
}

/// A query without its ticket, to be sent on; `None` when nothing is left.
pub fn without_ticket(query: &str) -> Option<String> {
    let is_ticket = |pair: &&str| !named(pair, TICKET);
    let rest: Vec<&str> = query.split('&').filter(is_ticket).collect();
    let rest = rest.join("&");
    (!rest.is_empty()).then_some(rest)
}

fn header(request: &Request) -> Result<Option<&str>, BadToken> {
    let fields = request
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let Some(value) = only(fields.map(|(_, value)| value))? else {
        return Ok(None);
    };
    let value = std::str::from_utf8(value).map_err(|_| BadToken::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(BadToken::Malformed)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(Some(token.trim_start_matches(' '))),
        // Another scheme is another's business, and no token.
        false => Ok(None),
    }
}

fn cookie<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, BadToken> {
    let fields = request
        .headers()
        .filter(|(field, _)| field.eq_ignore_ascii_case("cookie"));
    let texts = fields.filter_map(|(_, value)| std::str::from_utf8(value).ok());
    let pairs = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let values = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    Ok(only(values)?.map(|value| value.trim_matches('"')))
}

fn ticket(request: &Request) -> Result<Option<Cow<'_, str>>, BadToken> {
    let pairs = request.query().unwrap_or_default().split('&');
    match only(pairs.filter(|pair| named(pair, TICKET)))? {
        Some(_) => request
            .query_param(TICKET)
            .map(Some)
            .ok_or(BadToken::Malformed),
        None => Ok(None),
    }
}

fn named(pair: &str, name: &str) -> bool {
    pair.split_once('=').map_or(pair, |(key, _)| key) == name
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, BadToken> {
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(BadToken::Twice),
    }
}

const TICKET: &str = "ticket";
