//! Paths: decoded once, refused when two servers could read them differently (security.md H13), and matched
//! exactly or by whole segments. It never looks at the query.

use std::borrow::Cow;
use std::fmt;

/// Which paths a route takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathRule {
    /// This one.
    Exact(Box<str>),
    /// This one and all below it, by whole segments: `/chat` takes `/chat/x` and not `/chatter`.
    Prefix(Box<str>),
}

/// Why a path is not looked at: another server may read it as another path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confusing(&'static str);

impl fmt::Display for Confusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl PathRule {
    /// Whether a [`decoded`] path falls under it.
    pub fn takes(&self, path: &str) -> bool {
        match self {
            PathRule::Exact(exact) => **exact == *path,
            PathRule::Prefix(prefix) => path.strip_prefix(&**prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            }),
        }
    }

    /// Which rule says more about a path that several take: an exact one, then the longest.
    pub(super) fn weight(&self) -> (bool, usize) {
        match self {
            PathRule::Exact(path) => (true, path.len()),
            PathRule::Prefix(path) => (false, path.len()),
        }
    }
}

/// Undoes percent-encoding once.
///
/// # Errors
/// [`Confusing`] for what servers read differently: encoded separators, dot segments, parameters, fragments,
/// backslashes, control characters, empty segments, broken or doubled escapes, octets that are no UTF-8.
pub(super) fn decoded(path: &str) -> Result<Cow<'_, str>, Confusing> {
    let decoded = match path.contains('%') {
        true => Cow::Owned(unescaped(path)?),
        false => Cow::Borrowed(path),
    };
    let shape = |fault: bool, what| if fault { Err(Confusing(what)) } else { Ok(()) };
    shape(!decoded.starts_with('/'), "the path must begin with '/'")?;
    shape(decoded.contains("//"), "the path holds an empty segment")?;
    shape(
        decoded.contains([';', '#', '\\', '?']),
        "the path holds one of ; # ? \\, which servers read differently",
    )?;
    shape(
        decoded.chars().any(char::is_control),
        "the path holds a control character",
    )?;
    shape(
        decoded
            .split('/')
            .any(|segment| matches!(segment, "." | "..")),
        "the path holds a dot segment",
    )?;
    shape(
        escapes(&decoded).next().is_some(),
        "the path is percent-encoded twice",
    )?;
    Ok(decoded)
}

/// The one spelling of a decoded path that is sent on: what a path may hold unescaped (RFC 3986 §3.3) stands
/// as it is, all else is escaped.
pub(super) fn spelled(decoded: &str) -> String {
    let mut path = String::with_capacity(decoded.len());
    for octet in decoded.bytes() {
        match octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&octet) {
            true => path.push(char::from(octet)),
            false => path.push_str(&format!("%{octet:02X}")),
        }
    }
    path
}

fn unescaped(path: &str) -> Result<String, Confusing> {
    let mut octets = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(Confusing("the path holds a broken percent-escape"));
        };
        match (high << 4 | low) as u8 {
            b'/' => return Err(Confusing("the path holds an encoded '/'")),
            octet => octets.push(octet),
        }
    }
    String::from_utf8(octets).map_err(|_| Confusing("the path is no UTF-8"))
}

/// What still looks like percent-escapes.
fn escapes(text: &str) -> impl Iterator<Item = &str> {
    text.split('%')
        .skip(1)
        .filter(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_two_servers_could_read_differently_are_refused() {
        for bad in [
            "",
            "chat",
            "/a%2fb",
            "/a%2Fb",
            "/..",
            "/../etc",
            "/a/..",
            "/a/%2e%2e/b",
            "/a/.%2E",
            "/.",
            "/a/./b",
            "/a;x",
            "/a%3bx",
            "/a%3B..",
            "/a#b",
            "/a%23b",
            "/a%00",
            "/a\0",
            "/a\\b",
            "/a%5cb",
            "/a%5C..%5Cb",
            "//a",
            "/a//b",
            "/%",
            "/%2",
            "/%zz",
            "/a%252fb",
            "/a%252e%252e",
            "/%25%32%66",
            "/%ff",
            "/%c0%af",
            "/a%0d%0ab",
            "/a%7f",
            "/a%3fb",
            "/a%c2%85b",
        ] {
            assert!(
                decoded(bad).is_err(),
                "{bad:?} was taken as {:?}",
                decoded(bad)
            );
        }
    }

    #[test]
    fn other_paths_are_decoded_once_and_sent_on_in_one_spelling() {
        let rows = [
            ("/", "/", "/"),
            ("/chat", "/chat", "/chat"),
            ("/%63hat", "/chat", "/chat"),
            ("/a/b.c", "/a/b.c", "/a/b.c"),
            ("/a/..b/c..", "/a/..b/c..", "/a/..b/c.."),
            ("/caf%C3%a9", "/café", "/caf%C3%A9"),
            ("/a%20b", "/a b", "/a%20b"),
            ("/100%25", "/100%", "/100%25"),
            ("/a%25zz", "/a%zz", "/a%25zz"),
            ("/a+b@c:d", "/a+b@c:d", "/a+b@c:d"),
            ("/a/", "/a/", "/a/"),
        ];
        for (sent, meant, forwarded) in rows {
            let path = decoded(sent).expect(sent);
            assert_eq!((&*path, &*spelled(&path)), (meant, forwarded), "{sent}");
            assert_eq!(
                decoded(forwarded).as_deref(),
                Ok(meant),
                "what is sent on means the same"
            );
        }
    }

    #[test]
    fn a_prefix_takes_whole_segments() {
        let rows = [
            (
                PathRule::Exact("/chat".into()),
                vec!["/chat"],
                vec!["/chat/", "/chatter", "/CHAT", "/"],
            ),
            (
                PathRule::Prefix("/chat".into()),
                vec!["/chat", "/chat/", "/chat/a/b"],
                vec!["/chatter", "/cha", "/x/chat"],
            ),
            (
                PathRule::Prefix("/chat/".into()),
                vec!["/chat/", "/chat/a"],
                vec!["/chat"],
            ),
            (
                PathRule::Prefix("/".into()),
                vec!["/", "/a", "/a/b"],
                vec![],
            ),
        ];
        for (rule, taken, left) in rows {
            for path in taken {
                assert!(rule.takes(path), "{rule:?} {path}");
            }
            for path in left {
                assert!(!rule.takes(path), "{rule:?} {path}");
            }
        }
    }
}
