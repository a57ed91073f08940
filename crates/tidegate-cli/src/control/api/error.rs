//! How the HTTP API says no: a code and a message in the body, as `cent` and its like expect. It never holds
//! anything of the request.

use serde_json::json;
use std::borrow::Cow;
use tidegate_hub::{ClientError, HubError};

/// Why a method was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ApiError {
    /// The protocol's number.
    pub(crate) code: u16,
    /// For people.
    pub(crate) message: Cow<'static, str>,
}

impl ApiError {
    /// The request makes no sense, and why.
    pub(crate) fn bad(why: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError {
            code: ClientError::BAD_REQUEST.code,
            message: why.into(),
        }
    }

    /// There is no such method.
    pub(crate) fn no_method(name: &str) -> ApiError {
        ApiError {
            code: ClientError::METHOD_NOT_FOUND.code,
            message: format!("method not found: {}", name.escape_default()).into(),
        }
    }

    /// As a JSON object.
    pub(crate) fn json(&self) -> String {
        json!({ "code": self.code, "message": self.message }).to_string()
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> ApiError {
        match error {
            HubError::Refused(error) => ApiError {
                code: error.code,
                message: error.message.into(),
            },
            HubError::BadName | HubError::TooBig => ApiError::bad(error.to_string()),
            HubError::Busy => ApiError {
                code: ClientError::INTERNAL.code,
                message: error.to_string().into(),
            },
        }
    }
}
