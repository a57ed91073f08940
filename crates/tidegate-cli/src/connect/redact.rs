//! What of a handshake may be shown: names of fields always, values that are secrets never.

use std::borrow::Cow;

/// A request or status line, or a field, without its secrets.
pub(crate) fn line(line: &str) -> Cow<'_, str> {
    if let Some((name, value)) = line.split_once(':') {
        if is_field_name(name) {
            return field(line, name, value);
        }
    }
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version)) if version.starts_with("HTTP/") => {
            format!("{method} {} {version}", self::target(target)).into()
        }
        _ => line.into(),
    }
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn field<'a>(line: &'a str, name: &str, value: &str) -> Cow<'a, str> {
    let lower = name.to_ascii_lowercase();
    let shown = match lower.as_str() {
        "authorization" | "proxy-authorization" => {
            let scheme = value.trim().split(' ').next().unwrap_or_default();
            format!("{scheme} {HIDDEN}")
        }
        "cookie" => format!("{} {HIDDEN}", names(value)),
        "set-cookie" => format!(
            "{}={HIDDEN}",
            value.trim().split('=').next().unwrap_or_default()
        ),
        name if SECRET.iter().any(|word| name.contains(word)) => HIDDEN.to_owned(),
        _ => return line.into(),
    };
    format!("{name}: {}", shown.trim()).into()
}

/// The names of cookies.
fn names(value: &str) -> String {
    let pairs = value.split(';').filter_map(|pair| pair.split_once('='));
    let names: Vec<&str> = pairs.map(|(name, _)| name.trim()).collect();
    names.join(", ")
}

/// A path and query, or a URL, without user information and without the values of parameters that look secret.
pub(crate) fn target(target: &str) -> String {
    let (base, query) = match target.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (target, None),
    };
    let base = match base.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            let user = if host.len() < authority.len() {
                "…@"
            } else {
                ""
            };
            format!("{scheme}://{user}{host}{path}")
        }
        None => base.to_owned(),
    };
    match query {
        None => base,
        Some(query) => {
            let shown: Vec<Cow<'_, str>> = query.split('&').map(parameter).collect();
            format!("{base}?{}", shown.join("&"))
        }
    }
}

fn parameter(pair: &str) -> Cow<'_, str> {
    let name = pair.split('=').next().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    match SECRET.iter().any(|word| lower.contains(word)) {
        true => format!("{name}={HIDDEN}").into(),
        false => pair.into(),
    }
}

const HIDDEN: &str = "…";
/// What names of secrets contain.
const SECRET: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "api_key",
    "signature",
    "session",
    "jwt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        let rows = [
            (
                "GET /a?b=1&access_token=hush HTTP/1.1",
                "GET /a?b=1&access_token=… HTTP/1.1",
            ),
            (
                "GET ws://u:hush@h:1/a HTTP/1.1",
                "GET ws://…@h:1/a HTTP/1.1",
            ),
            (
                "HTTP/1.1 101 Switching Protocols",
                "HTTP/1.1 101 Switching Protocols",
            ),
            ("Host: a:80", "Host: a:80"),
            ("Authorization: Bearer hush", "Authorization: Bearer …"),
            ("authorization: Basic aHVzaA==", "authorization: Basic …"),
            ("Cookie: a=hush; b=hush", "Cookie: a, b …"),
            ("Set-Cookie: sid=hush; Path=/", "Set-Cookie: sid=…"),
            ("X-Api-Key: hush", "X-Api-Key: …"),
            ("Sec-WebSocket-Key: dGhl", "Sec-WebSocket-Key: dGhl"),
        ];
        for (line, expected) in rows {
            assert_eq!(super::line(line), expected);
            assert!(!super::line(line).contains("hush"));
        }
        assert_eq!(
            target("wss://me:hush@h/p?sig=1&Token=hush"),
            "wss://…@h/p?sig=1&Token=…"
        );
    }
}
