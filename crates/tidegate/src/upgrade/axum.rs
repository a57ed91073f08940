//! [`Upgrade`] as an extractor of axum, and refusals as its responses; it decides nothing.

use super::{Upgrade, head, refused};
use crate::Acceptor;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use std::fmt;
use tidegate_proto::handshake::Refusal;

/// Extracts the request for a WebSocket. It is judged by the [`Acceptor`] in the request's extensions (add it with
/// `axum::Extension` as a layer), or by [`Acceptor::new`] when there is none.
impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Upgrade, Refused> {
        let acceptor = parts.extensions.get::<Acceptor>().cloned();
        let acceptor = acceptor.unwrap_or_default();
        let head = head::Head {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        };
        let request = acceptor.read(&head).map_err(Refused)?;
        acceptor
            .opening(request, &mut parts.extensions)
            .map_err(Refused)
    }
}

/// A refusal as axum answers it. Make one to refuse by rules of your own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refused(&self.0).into_response()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused(refusal)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}: {}", self.0.status, self.0.message)
    }
}

impl std::error::Error for Refused {}
