//! Who may use the HTTP API, and how its requests and answers look in HTTP. It knows no method.

use super::error::ApiError;
use super::params::Legacy;
use super::{Api, Outcome};
use crate::config::Secret;
use crate::control::answer::{self, Answer};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::info;

/// The API behind its keys.
pub(crate) struct Door {
    api: Arc<Api>,
    rules: RwLock<Arc<Rules>>,
}

struct Rules {
    keys: Vec<Secret>,
    max_body: usize,
}

impl Door {
    /// `api` for those who have one of `keys`.
    pub(crate) fn new(api: Arc<Api>, keys: Vec<Secret>, max_body: usize) -> Door {
        let rules = RwLock::new(Arc::new(Rules { keys, max_body }));
        Door { api, rules }
    }

    /// From now on these keys are taken, and no others.
    pub(crate) fn set_rules(&self, keys: Vec<Secret>, max_body: usize) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Arc::new(Rules { keys, max_body });
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers `POST /api/METHOD`, or the older `POST /api`; `None` for other paths.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Option<Answer>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path().to_owned();
        let method = match path.strip_prefix("/api") {
            Some("" | "/") => None,
            Some(rest) => Some(rest.strip_prefix('/')?),
            None => return None,
        };
        let rules = self.rules();
        if let Some(refusal) = refuse(&rules.keys, &request) {
            return Some(refusal);
        }
        let body = match read_body(request, rules.max_body).await {
            Ok(body) => body,
            Err(refusal) => return Some(refusal),
        };
        let outcome = match method {
            Some(method) => self.api.call(method, &body).await,
            None => self.legacy(&body).await,
        };
        if let Err(error) = &outcome {
            info!(method, code = error.code, "an API request was refused");
        }
        Some(reply(method.unwrap_or_default(), outcome))
    }

    /// The method inside of the body, as older clients send it.
    async fn legacy(&self, body: &str) -> Outcome {
        let legacy: Legacy = serde_json::from_str(body).map_err(|_| {
            ApiError::bad("expected {\"method\":…,\"params\":…}, or POST /api/METHOD")
        })?;
        let params = legacy.params.as_ref().map_or("{}", |params| params.get());
        self.api.call(&legacy.method, params).await
    }
}

/// Both go with status 200: an error is an answer, too, and clients look into the body for it. The replies of
/// a batch stand for themselves, as clients expect it.
pub(crate) fn reply(method: &str, outcome: Outcome) -> Answer {
    let text = match outcome {
        Ok(replies) if method == "batch" => replies,
        Ok(result) => format!(r#"{{"result":{result}}}"#),
        Err(error) => format!(r#"{{"error":{}}}"#, error.json()),
    };
    let mut answer = answer::json(text);
    answer::set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

fn refuse<B>(keys: &[Secret], request: &Request<B>) -> Option<Answer> {
    if keys.is_empty() {
        let why = "the HTTP API is off: set keys in [api]";
        return Some(answer::line(StatusCode::NOT_FOUND, why));
    }
    let given = key(request.headers());
    // Every key is compared, so that the time tells nothing of which one was near.
    let known =
        given.is_some_and(|given| keys.iter().fold(false, |known, key| known | key.is(given)));
    if !known {
        let why = "an API key is needed, in X-API-Key or as Authorization: apikey KEY";
        return Some(answer::line(StatusCode::UNAUTHORIZED, why));
    }
    if request.method() != Method::POST {
        let mut answer = answer::line(StatusCode::METHOD_NOT_ALLOWED, "the API is asked by POST");
        answer::set(&mut answer, header::ALLOW, "POST");
        return Some(answer);
    }
    None
}

fn key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("apikey").then(|| key.trim())
}

/// The body as text, or the answer to one that is none, or too long.
pub(crate) async fn read_body<B>(request: Request<B>, most: usize) -> Result<String, Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(request.into_body(), most).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let why = format!("a request's body has at most {most} bytes");
            return Err(closing(answer::line(StatusCode::PAYLOAD_TOO_LARGE, &why)));
        }
        Ok(Err(_)) => {
            let why = "the body broke off";
            return Err(closing(answer::line(StatusCode::BAD_REQUEST, why)));
        }
        Err(_) => {
            let why = "the body took too long";
            return Err(closing(answer::line(StatusCode::REQUEST_TIMEOUT, why)));
        }
    };
    String::from_utf8(body.into())
        .map_err(|_| answer::line(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

/// What is left of the body is not read.
fn closing(mut answer: Answer) -> Answer {
    answer::set(&mut answer, header::CONNECTION, "close");
    answer
}

/// From the head's end to the body's.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
