//! What a client asks for, out of its settings and the URL; it sends nothing.

use super::Client;
use super::error::ConnectError;
use super::url::Target;
use crate::OsRandom;
use tidegate_proto::handshake::client::{ClientRequest, RequestError};
use tidegate_proto::handshake::{BadField, parse_offers};
use tidegate_proto::{Negotiated, Random, deflate};

impl Client {
    /// Lends `f` the request for `target`.
    pub(super) fn with_request<R>(
        &self,
        target: &Target,
        f: impl FnOnce(&ClientRequest<'_>) -> Result<R, RequestError>,
    ) -> Result<R, ConnectError> {
        let cookie = self.cookie_field()?;
        let authorization = self
            .authorization
            .as_ref()
            .or(target.authorization.as_ref());
        let is_authorization =
            |(name, _): &(String, String)| name.eq_ignore_ascii_case("authorization");
        let authorization = authorization.filter(|_| !self.headers.iter().any(is_authorization));
        let own = self.headers.iter().map(|(name, value)| (&**name, &**value));
        let headers: Vec<(&str, &str)> = own
            .chain(authorization.map(|value| ("Authorization", &**value)))
            .chain(cookie.as_ref().map(|value| ("Cookie", &**value)))
            .collect();
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let extensions = deflate::offer(&self.config.deflate);
        let mut key = [0; 16];
        OsRandom::new().fill(&mut key);
        let request = ClientRequest {
            origin: self.origin.as_deref(),
            subprotocols: &subprotocols,
            extensions: extensions.as_deref(),
            headers: &headers,
            ..ClientRequest::new(&target.authority, &target.path, key)
        };
        Ok(f(&request)?)
    }

    /// All cookies on one line; those of a header `Cookie` are sent beside it as they are.
    fn cookie_field(&self) -> Result<Option<String>, RequestError> {
        // A semicolon would begin another cookie (RFC 6265 §4.2.1).
        let is_bad = |text: &str| text.contains(';') || text.contains(char::is_control);
        let bad = |(name, value): &(String, String)| {
            name.is_empty() || name.contains('=') || is_bad(name) || is_bad(value)
        };
        if self.cookies.iter().any(bad) {
            let name = "Cookie".to_owned();
            return Err(RequestError::Field(BadField { name }));
        }
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        Ok((!pairs.is_empty()).then(|| pairs.join("; ")))
    }

    /// What the server's `Sec-WebSocket-Extensions` makes hold, checked against our offer.
    pub(super) fn judge_deflate(
        &self,
        extensions: Option<&str>,
    ) -> Result<Option<Negotiated>, ConnectError> {
        let Some(extensions) = extensions else {
            return Ok(None);
        };
        let answer = parse_offers(extensions.as_bytes());
        let answer =
            answer.map_err(tidegate_proto::handshake::client::HandshakeError::Extensions)?;
        Ok(deflate::judge(&answer, &self.config.deflate)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::handshake::ClientHandshake;

    fn head(client: &Client, url: &str) -> Result<String, ConnectError> {
        let target = Target::parse(url).expect("a good URL");
        let handshake = client.with_request(&target, ClientHandshake::new)?;
        Ok(String::from_utf8_lossy(handshake.request()).into_owned())
    }

    #[test]
    fn credentials_are_sent_once_the_nearest_ones_first() {
        let url = "ws://u:p@h/";
        let rows = [
            (Client::new(), "Authorization: Basic dTpw\r\n"),
            (
                Client::new().basic_auth("a", "b"),
                "Authorization: Basic YTpi\r\n",
            ),
            (
                Client::new().basic_auth("a", "b").bearer_auth("t"),
                "Authorization: Bearer t\r\n",
            ),
            (
                Client::new()
                    .bearer_auth("t")
                    .header("authorization", "X y"),
                "authorization: X y\r\n",
            ),
        ];
        for (client, expected) in rows {
            let head = head(&client, url).unwrap();
            assert!(head.contains(expected), "{head}");
            assert_eq!(
                head.to_lowercase().matches("authorization:").count(),
                1,
                "{head}"
            );
        }
    }

    #[test]
    fn cookies_share_a_line_and_none_can_bring_another() {
        let client = Client::new().cookie("a", "1").cookie("b", "two");
        assert!(
            head(&client, "ws://h/")
                .unwrap()
                .contains("\r\nCookie: a=1; b=two\r\n")
        );
        for (name, value) in [
            ("a", "1; b=2"),
            ("a;b", "1"),
            ("", "1"),
            ("a=b", "1"),
            ("a", "1\r\nX: y"),
        ] {
            let error = head(&Client::new().cookie(name, value), "ws://h/").unwrap_err();
            assert!(
                matches!(error, ConnectError::Request(RequestError::Field(_))),
                "{name}={value}"
            );
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn compression_is_offered_when_asked_for_and_the_answer_is_judged() {
        use tidegate_proto::Deflate;
        let plain = Client::new();
        assert!(
            !head(&plain, "ws://h/")
                .unwrap()
                .contains("Sec-WebSocket-Extensions")
        );
        let client = plain.deflate(Deflate::Shared);
        assert!(
            head(&client, "ws://h/")
                .unwrap()
                .contains("permessage-deflate")
        );
        assert!(client.judge_deflate(None).unwrap().is_none());
        let answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert!(client.judge_deflate(Some(answer)).unwrap().is_some());
        let error = client
            .judge_deflate(Some("permessage-deflate; x=1"))
            .unwrap_err();
        assert!(matches!(
            error,
            ConnectError::Deflate(deflate::BadAnswer::Malformed)
        ));
    }
}
