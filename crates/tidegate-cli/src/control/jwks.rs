//! Fetches JSON Web Key Sets: at the start, when they grow old, and when a token names a key that is not
//! known. While a source cannot be reached, the keys it gave last stay in force.

use super::keyring::Keyring;
use crate::settings::KeySource;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_hub::{BadKey, Hub};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};

/// Whether keys may be fetched from there: over TLS, or on this machine.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    Address::parse(url).map(drop)
}

/// Where a key set is.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    secure: bool,
    host: String,
    port: u16,
    target: String,
}

impl Address {
    fn parse(url: &str) -> Result<Address, String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or("a URL with a host")?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(host) => false,
            Some("http") => {
                return Err(
                    "keys over plain http can be forged; use https (http only for 127.0.0.1)"
                        .into(),
                );
            }
            _ => return Err("expected https://HOST/PATH".into()),
        };
        Ok(Address {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Why a key set could not be had.
#[derive(Debug)]
enum Trouble {
    Io(std::io::Error),
    Http(hyper::Error),
    Status(StatusCode),
    Slow,
    TooLong,
    NotAKeySet(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Io(error) => error.fmt(f),
            Trouble::Http(error) => error.fmt(f),
            Trouble::Status(status) => write!(f, "it answered {status}"),
            Trouble::Slow => write!(f, "no whole answer within {} s", PATIENCE.as_secs()),
            Trouble::TooLong => write!(f, "the answer is longer than {MAX_BODY} bytes"),
            Trouble::NotAKeySet(why) => f.write_str(why),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl From<hyper::Error> for Trouble {
    fn from(error: hyper::Error) -> Trouble {
        Trouble::Http(error)
    }
}

/// When a source is to be asked next.
struct Schedule {
    source: KeySource,
    /// Kept keys are too old then, or the next attempt after a failure is due.
    due: Instant,
    asked: Option<Instant>,
    failures: u32,
}

impl Schedule {
    fn new(source: KeySource) -> Schedule {
        Schedule {
            source,
            due: Instant::now(),
            asked: None,
            failures: 0,
        }
    }

    /// A token names a key that is not known: ask early, but not for every forged token.
    fn hurry(&mut self) {
        let earliest = self.asked.map_or(self.due, |asked| asked + COOLDOWN);
        self.due = self.due.min(earliest);
    }

    fn succeeded(&mut self, max_age: Option<Duration>) {
        let good = max_age.map_or(self.source.refresh, |age| {
            age.clamp(MIN_REFRESH.min(self.source.refresh), self.source.refresh)
        });
        self.failures = 0;
        self.due = Instant::now() + good;
    }

    fn failed(&mut self) -> Duration {
        let wait = Duration::from_secs(1 << self.failures.min(6)).min(Duration::from_secs(60));
        self.failures += 1;
        self.due = Instant::now() + wait;
        wait
    }
}

/// Keeps the keyring's key sets fresh, until it is dropped.
pub(crate) async fn run(keyring: Arc<Keyring>, hub: Hub) {
    let mut schedules: [Option<Schedule>; 2] = [None, None];
    loop {
        adopt(&mut schedules, keyring.sources());
        for (n, schedule) in schedules.iter_mut().enumerate() {
            if let Some(schedule) = schedule.as_mut().filter(|one| one.due <= Instant::now()) {
                refresh(&keyring, &hub, n, schedule).await;
            }
        }
        let next = schedules
            .iter()
            .flatten()
            .map(|schedule| schedule.due)
            .min();
        tokio::select! {
            () = keyring.woken() => schedules.iter_mut().flatten().for_each(Schedule::hurry),
            () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
        }
    }
}

/// A source that stays keeps its schedule.
fn adopt(schedules: &mut [Option<Schedule>; 2], sources: [Option<KeySource>; 2]) {
    for (schedule, source) in schedules.iter_mut().zip(sources) {
        let same = matches!((&*schedule, &source), (Some(a), Some(b)) if a.source == *b);
        if !same {
            *schedule = source.map(Schedule::new);
        }
    }
}

/// Keeps one source's keys fresh, until it is dropped: `take` gets each set, and `wake` says that a token names a
/// key that is not known.
pub(crate) async fn keep(
    source: KeySource,
    wake: Arc<Notify>,
    take: impl Fn(&str) -> Result<usize, BadKey>,
) {
    let mut schedule = Schedule::new(source);
    loop {
        tokio::select! {
            () = wake.notified() => schedule.hurry(),
            () = sleep_until(schedule.due) => {
                schedule.asked = Some(Instant::now());
                let fetched = fetch(&schedule.source.url).await;
                let result = fetched.and_then(|(text, max_age)| match take(&text) {
                    Ok(keys) => Ok((keys, max_age)),
                    Err(bad) => Err(Trouble::NotAKeySet(bad.to_string())),
                });
                settle(&mut schedule, result);
            }
        }
    }
}

async fn refresh(keyring: &Keyring, hub: &Hub, n: usize, schedule: &mut Schedule) {
    schedule.asked = Some(Instant::now());
    let url = schedule.source.url.clone();
    let result = match fetch(&url).await {
        Ok((text, max_age)) => keyring
            .set_fetched(hub, n, &url, &text)
            .await
            .map(|keys| (keys, max_age))
            .map_err(|bad| Trouble::NotAKeySet(bad.to_string())),
        Err(trouble) => Err(trouble),
    };
    settle(schedule, result);
}

/// Says what came of it, and when to ask again.
fn settle(schedule: &mut Schedule, result: Result<(usize, Option<Duration>), Trouble>) {
    let url = schedule.source.url.clone();
    match result {
        Ok((keys, max_age)) => {
            if schedule.failures > 0 {
                info!(%url, keys, "the token keys can be fetched again");
            } else {
                debug!(%url, keys, "token keys fetched");
            }
            schedule.succeeded(max_age);
        }
        Err(trouble) => {
            let wait = schedule.failed().as_secs();
            warn!(%url, error = %trouble, retry_seconds = wait, "token keys cannot be fetched; those fetched before stay in force");
        }
    }
}

/// One GET: the body, and how long the answer says it is good. Redirects are not followed.
async fn fetch(url: &str) -> Result<(String, Option<Duration>), Trouble> {
    let address = Address::parse(url).map_err(Trouble::NotAKeySet)?;
    timeout(PATIENCE, get(&address))
        .await
        .map_err(|_| Trouble::Slow)?
}

async fn get(address: &Address) -> Result<(String, Option<Duration>), Trouble> {
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
    if !address.secure {
        return ask(address, tcp).await;
    }
    let name = ServerName::try_from(address.host.clone())
        .map_err(|_| Trouble::NotAKeySet("the URL's host is no name".into()))?;
    let tls = TlsConnector::from(tls_config()?).connect(name, tcp).await?;
    ask(address, tls).await
}

async fn ask<S>(address: &Address, stream: S) -> Result<(String, Option<Duration>), Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let result = async {
        let request = Request::get(&address.target)
            .header(
                header::HOST,
                format!("{}:{}", bracketed(&address.host), address.port),
            )
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(
                header::USER_AGENT,
                concat!("tidegate/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::<Bytes>::new())
            .map_err(|_| Trouble::NotAKeySet("the URL cannot be asked for".into()))?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Trouble::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => Trouble::Http(*error),
            Err(_) => Trouble::TooLong,
        })?;
        String::from_utf8(body.to_bytes().into())
            .map(|text| (text, max_age))
            .map_err(|_| Trouble::NotAKeySet("the answer is not UTF-8".into()))
    }
    .await;
    driver.abort();
    result
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// `Cache-Control: max-age=N` (RFC 9111 §5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())
        .map(Duration::from_secs)
}

fn tls_config() -> Result<Arc<rustls::ClientConfig>, Trouble> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be used trusts nobody; the others still count.
        let _ = roots.add(certificate);
    }
    let builder = rustls::ClientConfig::builder_with_provider(tidegate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::Io(std::io::Error::other(error)))?;
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 256 << 10;
/// Between two requests that unknown keys cause.
const COOLDOWN: Duration = Duration::from_secs(10);
/// An answer may say that it is good for a moment only; we do not ask more often than this.
const MIN_REFRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        let rows = [
            (
                "https://keys.example/jwks.json?x=1",
                Some(("keys.example", 443, "/jwks.json?x=1")),
            ),
            (
                "https://keys.example:8443",
                Some(("keys.example", 8443, "/")),
            ),
            ("http://127.0.0.1:81/k", Some(("127.0.0.1", 81, "/k"))),
            ("http://[::1]/k", Some(("::1", 80, "/k"))),
            ("http://localhost/", Some(("localhost", 80, "/"))),
            ("http://keys.example/", None),
            ("http://localhost.keys.example/", None),
            ("ftp://127.0.0.1/", None),
            ("/etc/keys", None),
            ("", None),
        ];
        for (url, expected) in rows {
            let got = Address::parse(url).ok();
            let got = got
                .as_ref()
                .map(|a| (a.host.as_str(), a.port, a.target.as_str()));
            assert_eq!(got, expected, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_asked_when_it_is_old_early_for_unknown_keys_and_late_after_failures() {
        let source = KeySource {
            url: "https://keys.example/".into(),
            refresh: Duration::from_secs(3_600),
        };
        let mut schedule = Schedule::new(source);
        let start = Instant::now();
        let due = |schedule: &Schedule| schedule.due.duration_since(start).as_secs();
        assert_eq!(due(&schedule), 0);
        schedule.asked = Some(start);
        schedule.succeeded(None);
        assert_eq!(due(&schedule), 3_600);
        schedule.succeeded(Some(Duration::from_secs(600)));
        assert_eq!(due(&schedule), 600);
        schedule.succeeded(Some(Duration::ZERO));
        assert_eq!(due(&schedule), 60);
        schedule.hurry();
        assert_eq!(due(&schedule), 10);
        let waits: Vec<u64> = (0..8).map(|_| schedule.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn the_age_an_answer_allows_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(max_age(&headers), None);
        headers.insert(
            header::CACHE_CONTROL,
            "public, max-age=90, must-revalidate".parse().expect("fit"),
        );
        assert_eq!(max_age(&headers), Some(Duration::from_secs(90)));
        headers.insert(header::CACHE_CONTROL, "max-age=soon".parse().expect("fit"));
        assert_eq!(max_age(&headers), None);
    }
}
