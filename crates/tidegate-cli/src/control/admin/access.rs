//! Who may look at and change what on the admin listener. It knows no route by name.

use crate::config::Secret;
use crate::control::answer::{self, Answer};
use crate::hosts::Hosts;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use std::sync::{PoisonError, RwLock};

/// The rules: with a token, the token; without one only development mode lets anybody in, and only pages of
/// this listener itself.
pub(crate) struct Access {
    hosts: Hosts,
    dev: bool,
    token: RwLock<Option<Secret>>,
}

impl Access {
    /// `hosts` are the names of the listener; with `dev` and no token everyone on this machine is let in.
    pub(crate) fn new(hosts: Hosts, dev: bool, token: Option<Secret>) -> Access {
        Access {
            hosts,
            dev,
            token: RwLock::new(token),
        }
    }

    /// From now on this token is taken.
    pub(crate) fn set_token(&self, token: Option<Secret>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// A page of another name that points here is turned away (DNS rebinding).
    pub(crate) fn refuse_host<B>(&self, request: &Request<B>) -> Option<Answer> {
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => text(request.headers(), header::HOST),
        };
        if self.hosts.allow(host.unwrap_or("")) {
            return None;
        }
        let why = "the admin listener does not answer to that Host";
        Some(answer::line(StatusCode::MISDIRECTED_REQUEST, why))
    }

    /// The answer to somebody who may not.
    pub(crate) fn refuse<B>(&self, request: &Request<B>) -> Option<Answer> {
        let headers = request.headers();
        let held = self.token.read().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(token) => match bearer(headers).is_some_and(|given| token.is(given)) {
                true => None,
                false => {
                    let why = "the admin token is needed, as Authorization: Bearer TOKEN";
                    let mut answer = answer::line(StatusCode::UNAUTHORIZED, why);
                    answer::set(&mut answer, header::WWW_AUTHENTICATE, "Bearer");
                    Some(answer)
                }
            },
            None if !self.dev => {
                let why = "set token or token_file in [admin] to use this";
                Some(answer::line(StatusCode::FORBIDDEN, why))
            }
            None => self.refuse_foreign_page(request.method(), headers),
        }
    }

    /// Without a token a page of anywhere could act in the operator's name. What a page may send to us
    /// without asking first has no JSON type, and a foreign one names its Origin.
    fn refuse_foreign_page(&self, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        let refused = |why| Some(answer::line(StatusCode::FORBIDDEN, why));
        let origin = text(headers, header::ORIGIN);
        let host = text(headers, header::HOST);
        let own = |origin: &str| origin.split_once("://").map(|(_, host)| host) == host;
        if headers.contains_key(header::ORIGIN) && !origin.is_some_and(own) {
            return refused("pages of another origin may not use the admin listener");
        }
        let json = text(headers, header::CONTENT_TYPE)
            .is_some_and(|kind| kind.split(';').next().map(str::trim) == Some("application/json"));
        if *method == Method::POST && !json {
            return refused("send it as application/json");
        }
        None
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn status(dev: bool, token: Option<&str>, method: &str, fields: &[(&str, &str)]) -> u16 {
        let hosts = Hosts::new(Ipv4Addr::LOCALHOST.into(), &[]);
        let access = Access::new(hosts, dev, token.map(Secret::new));
        let mut request = Request::builder().method(method).uri("/admin/overview");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let refusal = access
            .refuse_host(&request)
            .or_else(|| access.refuse(&request));
        refusal.map_or(200, |answer| answer.status().as_u16())
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let host = ("Host", "127.0.0.1:8001");
        let rows: [(&[(&str, &str)], u16); 6] = [
            (&[host, ("Authorization", "Bearer t0ken")], 200),
            (&[host, ("Authorization", "bearer t0ken ")], 200),
            (&[host, ("Authorization", "Bearer t0keN")], 401),
            (&[host, ("Authorization", "Basic t0ken")], 401),
            (&[host], 401),
            (
                &[("Host", "evil.example"), ("Authorization", "Bearer t0ken")],
                421,
            ),
        ];
        for (fields, expected) in rows {
            for dev in [true, false] {
                assert_eq!(
                    status(dev, Some("t0ken"), "GET", fields),
                    expected,
                    "{fields:?}"
                );
            }
        }
    }

    #[test]
    fn without_a_token_only_development_mode_lets_its_own_page_in() {
        let host = ("Host", "127.0.0.1:8001");
        let json = ("Content-Type", "application/json; charset=utf-8");
        assert_eq!(status(false, None, "GET", &[host]), 403);
        assert_eq!(status(true, None, "GET", &[host]), 200);
        assert_eq!(status(true, None, "POST", &[host]), 403);
        assert_eq!(
            status(true, None, "POST", &[host, ("Content-Type", "text/plain")]),
            403
        );
        assert_eq!(status(true, None, "POST", &[host, json]), 200);
        let own = ("Origin", "http://127.0.0.1:8001");
        assert_eq!(status(true, None, "POST", &[host, json, own]), 200);
        for foreign in ["http://127.0.0.1:8000", "https://evil.example", "null"] {
            let origin = ("Origin", foreign);
            assert_eq!(
                status(true, None, "POST", &[host, json, origin]),
                403,
                "{foreign}"
            );
        }
    }
}
