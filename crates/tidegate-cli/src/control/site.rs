//! What each path of ordinary HTTP leads to: the page, a channel, or a line that says why not. It speaks to
//! the hub by mail only.

use super::answer::{self, Answer, Answers};
use super::api;
use super::channels::Channels;
use super::query::channel_route;
use crate::assets;
use crate::hosts::Hosts;
use crate::routes::WRONG_HOST;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode, Version};
use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

/// Everything ordinary HTTP serves.
pub(crate) struct Site {
    /// What we are called.
    pub(crate) names: Arc<Names>,
    /// The hub, seen from outside.
    pub(crate) channels: Channels,
    /// The hub, for backends that have a key.
    pub(crate) api: Arc<api::Door>,
    /// Whether there is a demo page.
    pub(crate) demo: bool,
}

/// What we are called; a reload may change it.
pub(crate) struct Names(RwLock<Hosts>);

impl Names {
    /// Called so.
    pub(crate) fn new(hosts: Hosts) -> Names {
        Names(RwLock::new(hosts))
    }

    /// From now on called so.
    pub(crate) fn set(&self, hosts: Hosts) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    fn allow(&self, authority: &str) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .allow(authority)
    }
}

impl Answers for Site {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        self.reply(request).await
    }
}

impl Site {
    /// Answers one request; only the API looks at a body.
    async fn reply(&self, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = self.refuse_host(&request) {
            return refusal;
        }
        if is_api(request.uri().path()) {
            let answer = self.api.answer(request).await;
            return answer.unwrap_or_else(|| answer::line(StatusCode::NOT_FOUND, "nothing here"));
        }
        self.answer_page(&request).await
    }

    async fn answer_page(&self, request: &Request<Incoming>) -> Answer {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        if let Some((name, wanted)) = channel_route(path) {
            let query = request.uri().query();
            return match (get, name) {
                (false, _) => answer::not_allowed(),
                (true, Some(name)) => {
                    self.channels
                        .answer(&name, wanted, query, request.headers())
                        .await
                }
                (true, None) => answer::line(
                    StatusCode::BAD_REQUEST,
                    "the channel's name is not UTF-8 in percent-encoding",
                ),
            };
        }
        match (assets::find(path).filter(|_| self.demo), get) {
            (Some(asset), true) => page(asset, request.headers()),
            (Some(_), false) => answer::not_allowed(),
            (None, _) if WEBSOCKET_PATHS.contains(&path) => upgrade_required(),
            (None, _) => answer::line(StatusCode::NOT_FOUND, "nothing here"),
        }
    }

    /// The first request of a connection was checked by the engine, the ones after it were not.
    fn refuse_host<B>(&self, request: &Request<B>) -> Option<Answer> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next();
        //= rfc9112#3.2  400 when Host is missing from HTTP/1.1, or there more than once.
        if hosts.next().is_some() || (host.is_none() && request.version() > Version::HTTP_10) {
            return Some(answer::line(
                StatusCode::BAD_REQUEST,
                "a request has exactly one Host",
            ));
        }
        //= rfc9112#3.2.2  the authority of an absolute-form target counts, not Host.
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => host.and_then(|host| host.to_str().ok()).unwrap_or(""),
        };
        if self.names.allow(authority) {
            return None;
        }
        Some(answer::line(StatusCode::MISDIRECTED_REQUEST, WRONG_HOST))
    }
}

/// A file of a page.
pub(crate) fn page(asset: assets::Asset, request: &HeaderMap) -> Answer {
    let bytes = match asset.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut answer = answer::new(StatusCode::OK, bytes, asset.media_type);
    answer::set(&mut answer, header::CACHE_CONTROL, "no-cache");
    answer::with_etag(answer, &asset.etag, request)
}

fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Someone asks for a WebSocket's address without asking for a WebSocket (RFC 9110 §15.5.22).
fn upgrade_required() -> Answer {
    let why = "this address speaks WebSocket; connect with ws:// or wss://";
    let mut answer = answer::line(StatusCode::UPGRADE_REQUIRED, why);
    answer::set(&mut answer, header::UPGRADE, "websocket");
    answer::set(&mut answer, header::CONNECTION, "Upgrade");
    answer
}

const WEBSOCKET_PATHS: [&str; 3] = ["/echo", "/connection/websocket", "/wire"];
