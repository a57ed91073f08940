//! The endpoint that is checked: its URL in parts, its address, whether it is on this machine. It connects to nothing.

use crate::connect::redact;
use crate::error::{Exit, Failure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use std::net::SocketAddr;

/// An endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// TLS.
    pub(crate) secure: bool,
    /// Name or address, IPv6 in brackets.
    pub(crate) host: String,
    /// For `Host`: without a default port.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    /// `Basic …`, from user information.
    pub(crate) authorization: Option<String>,
    /// Where every connection goes: a name is looked up once.
    pub(crate) addr: SocketAddr,
    /// The URL without secrets.
    pub(crate) shown: String,
}

impl Target {
    /// Takes a URL apart and looks its name up.
    ///
    /// # Errors
    /// A URL that is none (usage), a name nobody knows (not connected).
    pub(crate) async fn find(url: &str) -> Result<Target, Failure> {
        let bad = |why: &str| Failure::usage(format!("{}: {why}", redact::target(url)));
        if url.contains('#') {
            return Err(bad("the URL must not have a fragment"));
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| bad("expected ws://host/path or wss://host/path"))?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(bad("the URL must begin with ws:// or wss://")),
        };
        let place = uri.authority().ok_or_else(|| bad("the URL has no host"))?;
        let host = place.host().to_owned();
        if host.is_empty() {
            return Err(bad("the URL has no host"));
        }
        let default = if secure { 443 } else { 80 };
        let port = place.port_u16().unwrap_or(default);
        let addr = look_up(&host, port).await?;
        let user = place.as_str().rsplit_once('@').map(|(user, _)| user);
        Ok(Target {
            secure,
            authority: match port == default {
                true => host.clone(),
                false => format!("{host}:{port}"),
            },
            host,
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            authorization: user.map(|user| format!("Basic {}", STANDARD.encode(user))),
            addr,
            shown: redact::target(url),
        })
    }

    /// It is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.addr.ip().to_canonical().is_loopback()
    }

    /// The name without brackets, for TLS.
    pub(crate) fn name(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

async fn look_up(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let name = host.trim_matches(['[', ']']);
    let not_found = |why: String| Failure {
        exit: Exit::NotConnected,
        line: format!("could not connect: {name} cannot be looked up: {why}"),
    };
    let found = tokio::net::lookup_host((name, port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| not_found(error.to_string()))?
        .collect();
    // A name of both is a name of elsewhere; servers on localhost mostly listen on 127.0.0.1 only.
    let elsewhere = found
        .iter()
        .find(|addr| !addr.ip().to_canonical().is_loopback());
    let chosen = elsewhere
        .or(found.iter().find(|addr| addr.is_ipv4()))
        .or(found.first());
    chosen
        .copied()
        .ok_or_else(|| not_found("no address".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(url: &str) -> Target {
        Target::find(url).await.expect(url)
    }

    #[tokio::test]
    async fn urls_are_taken_apart() {
        let target = find("ws://me:hush@127.0.0.1:8000/chat?token=hush").await;
        assert_eq!(
            (
                target.host.as_str(),
                target.authority.as_str(),
                target.path.as_str()
            ),
            ("127.0.0.1", "127.0.0.1:8000", "/chat?token=hush")
        );
        assert_eq!(target.authorization.as_deref(), Some("Basic bWU6aHVzaA=="));
        assert!(!target.shown.contains("hush"), "{}", target.shown);
        assert!(target.is_here() && !target.secure);
        let target = find("wss://[::1]").await;
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("[::1]", "/")
        );
        assert!(target.secure && target.is_here() && target.addr.port() == 443);
        assert!(!find("ws://192.0.2.1/").await.is_here());
        assert!(find("ws://[::ffff:127.0.0.1]/").await.is_here());
    }

    #[tokio::test]
    async fn what_is_no_url_is_refused() {
        for url in [
            "",
            "127.0.0.1:80",
            "ftp://a/",
            "ws://",
            "ws://127.0.0.1/#x",
            "ws:///a",
        ] {
            let failure = Target::find(url).await.expect_err(url);
            assert_eq!(failure.exit, Exit::Usage, "{url}");
        }
    }
}
