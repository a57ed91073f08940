//! Which HTTP proxy a connection goes through, if any: an own one, or the environment's as curl reads it. It
//! opens nothing; `tunnel.rs` does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::IpAddr;

/// How connections reach their servers. Default: [`Proxy::environment`].
///
/// A proxy is asked for a tunnel (HTTP CONNECT, RFC 9110 §9.3.6) to the server, for `ws://` as for `wss://`
/// (RFC 6455 §4.1); what goes through it is the same as without.
///
/// ```
/// use tidegate::{Client, Proxy};
///
/// let direct = Client::new().proxy(Proxy::none());
/// let office = Client::new().proxy(Proxy::url("http://proxy.example:3128")?.basic_auth("me", "secret"));
/// # let _ = (direct, office);
/// # Ok::<(), tidegate::client::BadProxy>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proxy(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    None,
    #[default]
    Environment,
    Fixed(Box<Address>),
}

impl Proxy {
    /// Connections are direct, whatever the environment says.
    pub fn none() -> Proxy {
        Proxy(Kind::None)
    }

    /// What the environment says when a connection is made, as curl reads it: `wss_proxy` or `https_proxy` for
    /// `wss://`, `ws_proxy` or `http_proxy` for `ws://`, else `all_proxy`; each in lower case first, then in upper
    /// case. `no_proxy` lists whom to reach directly, separated by commas or spaces: names (with all names below
    /// them), addresses, ranges such as `10.0.0.0/8`, each with `:port` if it is for that port alone; or `*`.
    ///
    /// `HTTP_PROXY` in upper case is not looked at where `REQUEST_METHOD` is set: in a CGI program a client can
    /// set it by a header.
    pub fn environment() -> Proxy {
        Proxy(Kind::Environment)
    }

    /// This proxy for all connections: `http://[user:password@]host[:port]`, or `https://…` (with the feature
    /// `tls`) to encrypt the way to it as well. The port is 1080, or 443 for `https`, when none is given; without
    /// a scheme, `http` is meant.
    ///
    /// # Errors
    /// [`BadProxy`] says what is wrong with the URL.
    pub fn url(url: &str) -> Result<Proxy, BadProxy> {
        Ok(Proxy(Kind::Fixed(Box::new(Address::parse(url)?))))
    }

    /// Credentials for the proxy of [`Proxy::url`] (RFC 7617); others have none of their own to change. They
    /// replace those of the URL.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Proxy {
        if let Kind::Fixed(address) = &mut self.0 {
            address.authorization = Some(basic(user.as_bytes(), password.as_bytes()));
        }
        self
    }

    /// The proxy for a server; `None` when it is reached directly.
    pub(crate) fn choose(
        &self,
        secure: bool,
        host: &str,
        port: u16,
    ) -> Result<Option<Address>, BadProxy> {
        match &self.0 {
            Kind::None => Ok(None),
            Kind::Fixed(address) => Ok(Some((**address).clone())),
            Kind::Environment => {
                from_environment(|name| std::env::var(name).ok(), secure, host, port)
            }
        }
    }
}

/// A proxy's URL can't be used.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadProxy {
    /// The scheme is not `http` or `https`; SOCKS proxies are not spoken to yet.
    Scheme(String),
    /// There is no host, or it or the port is malformed.
    Host,
    /// User name or password has a broken %-escape.
    UserInfo,
}

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadProxy::Scheme(scheme) => write!(
                f,
                "the proxy's scheme {scheme:?} is not supported: use http:// or https://"
            ),
            BadProxy::Host => {
                f.write_str("the proxy's URL must be http://host or http://host:port")
            }
            BadProxy::UserInfo => f.write_str("the proxy's user information has a broken %-escape"),
        }
    }
}

impl std::error::Error for BadProxy {}

/// Where a proxy is and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) secure: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl Address {
    fn parse(url: &str) -> Result<Address, BadProxy> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(BadProxy::Scheme(scheme.to_owned())),
        };
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        let (host, port) = split_port(place).ok_or(BadProxy::Host)?;
        let default = if secure { 443 } else { 1080 };
        Ok(Address {
            secure,
            host: host.to_owned(),
            port: port.unwrap_or(default),
            authorization: user
                .map(|user| credentials(user).ok_or(BadProxy::UserInfo))
                .transpose()?,
        })
    }

    /// For people, without credentials.
    pub(crate) fn shown(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Address {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// A host without its brackets, and the port if one is named.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) => {
            let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            Some(
                digits
                    .parse()
                    .ok()
                    .filter(|port| only_digits && *port > 0)?,
            )
        }
    };
    (!host.is_empty()).then_some((host, port))
}

/// `user:password`, percent-encoded as in a URL, as an `Authorization` (RFC 7617); `None` for a broken escape.
pub(crate) fn credentials(user_info: &str) -> Option<String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    Some(basic(&decode(user)?, &decode(password)?))
}

/// An `Authorization` of RFC 7617.
pub(crate) fn basic(user: &[u8], password: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode([user, b":", password].concat()))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        octets.push(u8::from_str_radix(digits, 16).ok()?);
        octets.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(octets)
}

/// The proxy that `environment` names for a server.
fn from_environment(
    environment: impl Fn(&str) -> Option<String>,
    secure: bool,
    host: &str,
    port: u16,
) -> Result<Option<Address>, BadProxy> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let either = |name: &str| {
        let is_cgi = name == "http_proxy" && environment("REQUEST_METHOD").is_some();
        let upper = || set(&name.to_ascii_uppercase()).filter(|_| !is_cgi);
        set(name).or_else(upper)
    };
    let names = match secure {
        true => ["wss_proxy", "https_proxy", "all_proxy"],
        false => ["ws_proxy", "http_proxy", "all_proxy"],
    };
    let Some(url) = names.into_iter().find_map(either) else {
        return Ok(None);
    };
    if either("no_proxy").is_some_and(|list| is_exempt(&list, host, port)) {
        return Ok(None);
    }
    Address::parse(&url).map(Some)
}

/// A `no_proxy` list names the server.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let entries = list.split([',', ' ', '\t']).map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .any(|entry| entry == "*" || names(&entry.to_ascii_lowercase(), &host, port))
}

fn names(entry: &str, host: &str, port: u16) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return names_address(entry, address, port);
    }
    let Some((name, only)) = split_port(entry) else {
        return false;
    };
    let name = name.trim_start_matches('.').trim_end_matches('.');
    let below = |host: &str| {
        host.strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    only.is_none_or(|only| only == port) && !name.is_empty() && (host == name || below(host))
}

fn names_address(entry: &str, address: IpAddr, port: u16) -> bool {
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.trim_matches(['[', ']']).parse();
        return match (network, bits.parse()) {
            (Ok(network), Ok(bits)) => is_within(address, network, bits),
            _ => false,
        };
    }
    if let Ok(listed) = entry.parse::<IpAddr>() {
        return listed == address;
    }
    split_port(entry).is_some_and(|(listed, only)| {
        listed.parse() == Ok(address) && only.is_none_or(|only| only == port)
    })
}

/// The first `bits` of both are the same.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let differ = u32::from(a) ^ u32::from(b);
            differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let differ = u128::from(a) ^ u128::from(b);
            differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(environment: &[(&str, &str)], secure: bool, host: &str) -> Option<String> {
        let get = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let chosen = from_environment(get, secure, host, if secure { 443 } else { 80 });
        chosen.expect("a good URL").map(|address| address.shown())
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let (http, https, all) = ("http://h:1", "http://s:2", "http://a:3");
        type Row<'a> = (&'a [(&'a str, &'a str)], bool, Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (&[], false, None),
            (&[("http_proxy", http)], false, Some(http)),
            (&[("http_proxy", http)], true, None),
            (
                &[("https_proxy", https), ("http_proxy", http)],
                true,
                Some(https),
            ),
            (&[("HTTPS_PROXY", https)], true, Some(https)),
            (
                &[("HTTPS_PROXY", https), ("https_proxy", http)],
                true,
                Some(http),
            ),
            (&[("all_proxy", all)], true, Some(all)),
            (
                &[("ALL_PROXY", all), ("http_proxy", http)],
                false,
                Some(http),
            ),
            (&[("ws_proxy", all), ("http_proxy", http)], false, Some(all)),
            (
                &[("WSS_PROXY", all), ("https_proxy", http)],
                true,
                Some(all),
            ),
            (&[("http_proxy", ""), ("ALL_PROXY", all)], false, Some(all)),
            (&[("HTTP_PROXY", http)], false, Some(http)),
            (
                &[("HTTP_PROXY", http), ("REQUEST_METHOD", "GET")],
                false,
                None,
            ),
            (
                &[("http_proxy", http), ("REQUEST_METHOD", "GET")],
                false,
                Some(http),
            ),
            (
                &[("http_proxy", http), ("no_proxy", "example.com")],
                false,
                None,
            ),
            (&[("http_proxy", http), ("NO_PROXY", "*")], false, None),
            (
                &[("http_proxy", http), ("NO_PROXY", "other.example")],
                false,
                Some(http),
            ),
        ];
        for (environment, secure, expected) in rows {
            let got = chosen(environment, *secure, "example.com");
            assert_eq!(got.as_deref(), *expected, "{environment:?} {secure}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_what_is_below_them() {
        let rows = [
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "example.com", true),
            ("EXAMPLE.com", "a.Example.COM.", true),
            ("a, example.com ,b", "example.com", true),
            ("a example.com", "example.com", true),
            ("example.com:81", "example.com", true),
            ("example.com:80", "example.com", false),
            ("com", "example.com", true),
            (".", "example.com", false),
            (",,", "example.com", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1:81", "192.0.2.1", true),
            ("192.0.2.1:80", "192.0.2.1", false),
            ("192.0.2", "192.0.2.1", false),
            ("2.1", "192.0.2.1", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "192.0.3.0", true),
            ("192.0.2.1/33", "192.0.2.1", false),
            ("10.0.0.0/8", "example.com", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::1", "2001:db8:0::1", true),
            ("[::1]:81", "::1", true),
            ("::/0", "192.0.2.1", false),
            ("*", "anything", true),
        ];
        for (list, host, expected) in rows {
            assert_eq!(is_exempt(list, host, 81), expected, "{list:?} {host}");
        }
    }

    #[test]
    fn proxies_have_urls() {
        let rows = [
            ("http://p", Ok("http://p:1080")),
            ("p:3128", Ok("http://p:3128")),
            ("HTTP://u:p@p:8/", Ok("http://p:8")),
            ("https://p", Ok("https://p:443")),
            ("http://[::1]:8", Ok("http://[::1]:8")),
            ("socks5://p:1", Err(BadProxy::Scheme("socks5".into()))),
            ("http://", Err(BadProxy::Host)),
            ("http://p:0", Err(BadProxy::Host)),
            ("http://p:+8", Err(BadProxy::Host)),
            ("http://[::1", Err(BadProxy::Host)),
            ("http://u%2@p", Err(BadProxy::UserInfo)),
        ];
        for (url, expected) in rows {
            let got = Address::parse(url).map(|address| address.shown());
            assert_eq!(got.as_deref(), expected.as_ref().copied(), "{url}");
        }
    }

    #[test]
    fn credentials_come_from_the_url_or_the_caller_and_are_never_shown() {
        let proxy = Proxy::url("http://u:p%20w@h").expect("a good URL");
        let of = |proxy: &Proxy| {
            proxy
                .choose(true, "a", 1)
                .unwrap()
                .unwrap()
                .authorization
                .unwrap()
        };
        assert_eq!(of(&proxy), "Basic dTpwIHc=");
        let proxy = proxy.basic_auth("Aladdin", "open sesame");
        assert_eq!(of(&proxy), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{proxy:?}"), "Proxy(Fixed(http://h:1080))");
    }

    #[test]
    fn none_is_none() {
        assert_eq!(Proxy::none().choose(true, "a", 1), Ok(None));
    }
}
