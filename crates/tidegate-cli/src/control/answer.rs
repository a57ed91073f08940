//! HTTP answers and the headers all of them carry; decides nothing about what is answered.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use std::future::Future;
use std::sync::Arc;

/// An answer whose body is all there.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What answers the requests of a listener.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The bodies of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + From<Full<Bytes>>
        + Send
        + 'static;

    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// What a request is answered that has made the server panic.
pub(super) fn mistake<B: From<Full<Bytes>>>() -> Response<B> {
    let why = "the server made a mistake; it was logged";
    line(StatusCode::INTERNAL_SERVER_ERROR, why).map(B::from)
}

/// One line of plain text.
pub(crate) fn line(status: StatusCode, text: &str) -> Answer {
    let mut answer = new(
        status,
        Bytes::from(format!("{text}\n")),
        "text/plain; charset=utf-8",
    );
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

/// A JSON document that may be stale at once.
pub(crate) fn json(text: String) -> Answer {
    let mut answer = new(StatusCode::OK, text.into(), "application/json");
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    answer
}

/// The method is not for this path.
pub(crate) fn not_allowed() -> Answer {
    let mut answer = line(
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET and HEAD are answered here",
    );
    set(&mut answer, header::ALLOW, "GET, HEAD");
    answer
}

/// Bytes of a type, with the headers every answer has.
pub(crate) fn new(status: StatusCode, body: Bytes, media_type: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, media_type);
    for (name, value) in SECURITY {
        set(&mut answer, name, value);
    }
    answer
}

/// Sets a header to what is known to be fit for one.
pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// Adds `etag`, and answers 304 without a body if the client has just that (RFC 9110 §13.1.2).
pub(super) fn with_etag(mut answer: Answer, etag: &str, request: &HeaderMap) -> Answer {
    let Ok(value) = HeaderValue::from_str(etag) else {
        return answer;
    };
    answer.headers_mut().insert(header::ETAG, value);
    if matches(request, etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = Full::default();
        answer.headers_mut().remove(header::CONTENT_TYPE);
    }
    answer
}

/// If-None-Match compares weakly: `W/` does not count.
fn matches(request: &HeaderMap, etag: &str) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Nothing from elsewhere is loaded, nothing is framed, nothing is guessed. `ws:` and `wss:` are named since
/// older browsers do not count them as `'self'`.
const SECURITY: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(tags: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(tags));
        headers
    }

    #[test]
    fn a_client_that_has_it_gets_304() {
        let rows = [
            ("\"a\"", 304),
            ("W/\"a\"", 304),
            ("\"b\", \"a\"", 304),
            ("*", 304),
            ("\"b\"", 200),
            ("a", 200),
        ];
        for (tags, status) in rows {
            let answer = with_etag(json("{}".into()), "\"a\"", &asking(tags));
            assert_eq!(answer.status(), status, "{tags}");
            assert_eq!(answer.headers()[header::ETAG], "\"a\"");
        }
        assert_eq!(
            with_etag(json("{}".into()), "\"a\"", &HeaderMap::new()).status(),
            200
        );
    }
}
