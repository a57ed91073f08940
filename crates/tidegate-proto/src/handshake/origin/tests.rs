//! Hostile and friendly origins against each policy.

use super::*;
use crate::handshake::testing::request;

/// A request to `host` whose fields also hold `lines`.
fn with_lines(host: &str, lines: &[u8], secure: bool) -> Request {
    let mut bytes = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n");
    request(&bytes, secure)
}

fn from(host: &str, origin: &str, secure: bool) -> Request {
    with_lines(host, format!("Origin: {origin}\r\n").as_bytes(), secure)
}

fn listed(origins: &[&str]) -> OriginPolicy {
    OriginPolicy::Listed(origins.iter().map(|o| Origin::parse(o).unwrap()).collect())
}

#[test]
fn the_same_origin_is_host_and_port_with_the_schemes_default() {
    let rows = [
        // Host, Origin, secure, allowed
        ("example.com", "http://example.com", false, true),
        ("example.com", "https://example.com", false, true), // TLS ended at a proxy
        ("example.com", "https://example.com", true, true),
        ("example.com", "http://example.com", true, false),
        ("example.com:443", "https://example.com", true, true),
        ("example.com", "https://example.com:443", true, true),
        ("example.com:80", "http://example.com", false, true),
        ("example.com:8000", "http://example.com:8000", false, true),
        ("example.com:8000", "http://example.com", false, false),
        ("example.com", "http://example.com:8000", false, false),
        ("example.com:80", "https://example.com", false, false),
        ("example.com:443", "http://example.com", false, false),
        ("Example.COM", "http://eXample.com", false, true),
        ("example.com:", "http://example.com", false, true),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", false, true),
        ("127.0.0.1:8000", "http://localhost:8000", false, false),
        ("[::1]:8000", "http://[::1]:8000", false, true),
        ("[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000", false, true),
        ("[::1]", "http://[::2]", false, false),
        (
            "xn--mnchen-3ya.example",
            "https://xn--mnchen-3ya.example",
            true,
            true,
        ),
        ("example.com", "ws://example.com", false, false),
        (
            "example.com",
            "chrome-extension://example.com",
            false,
            false,
        ),
    ];
    for (host, origin, secure, allowed) in rows {
        let request = from(host, origin, secure);
        assert_eq!(
            OriginPolicy::SameOrigin.allows(&request),
            allowed,
            "{host} {origin} {secure}"
        );
        assert_eq!(OriginPolicy::default().check(&request).is_ok(), allowed);
    }
}

#[test]
fn the_target_of_an_absolute_form_is_what_the_origin_is_compared_with() {
    let bytes = |origin: &str| {
        format!(
            "GET ws://real.example/ HTTP/1.1\r\nHost: other.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: {origin}\r\n\r\n"
        )
    };
    let allowed =
        |origin| OriginPolicy::SameOrigin.allows(&request(bytes(origin).as_bytes(), false));
    assert!(allowed("http://real.example"));
    assert!(!allowed("http://other.example"));
}

#[test]
fn listed_origins_match_exactly_and_the_same_origin_stays_allowed() {
    let policy = listed(&[
        "https://app.example",
        "http://localhost:3000",
        "chrome-extension://abcdef",
    ]);
    let rows = [
        ("https://app.example", true),
        ("https://app.example:443", true),
        ("HTTPS://APP.EXAMPLE", true),
        ("http://localhost:3000", true),
        ("chrome-extension://abcdef", true),
        ("https://us.example", true), // the same origin
        ("http://app.example", false),
        ("https://app.example:444", false),
        ("https://localhost:3000", false),
        ("http://localhost", false),
        ("chrome-extension://abcdeg", false),
        ("https://app.example.", false),
        ("null", false),
    ];
    for (origin, allowed) in rows {
        assert_eq!(
            policy.allows(&from("us.example", origin, true)),
            allowed,
            "{origin}"
        );
    }
}

#[test]
fn no_origin_is_allowed_and_two_are_refused_by_every_policy() {
    let one = "Origin: https://example.com\r\n";
    for policy in [
        OriginPolicy::SameOrigin,
        listed(&["https://example.com"]),
        OriginPolicy::Any,
    ] {
        assert!(policy.allows(&with_lines("example.com", b"", true)));
        assert!(policy.allows(&with_lines("example.com", one.as_bytes(), true)));
        for second in [
            one,
            "origin: https://evil.example\r\n",
            "ORIGIN: null\r\n",
            "Origin:\r\n",
        ] {
            for both in [format!("{one}{second}"), format!("{second}{one}")] {
                assert!(
                    !policy.allows(&with_lines("example.com", both.as_bytes(), true)),
                    "{both:?}"
                );
            }
        }
    }
}

#[test]
fn any_takes_what_others_refuse() {
    for origin in [
        "null",
        "https://evil.example",
        "file://",
        "app://obsidian.md",
        "garbage",
        "",
    ] {
        assert!(
            OriginPolicy::Any.allows(&from("example.com", origin, true)),
            "{origin}"
        );
        assert!(
            !OriginPolicy::SameOrigin.allows(&from("example.com", origin, true)),
            "{origin}"
        );
    }
}

#[test]
fn a_refusal_is_403_and_names_no_secret() {
    let refusal = OriginPolicy::SameOrigin
        .check(&from("a.example", "https://evil.example", true))
        .unwrap_err();
    assert_eq!(refusal.status, 403);
    assert!(!refusal.message.contains("evil"));
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    for (text, shown) in [
        ("HTTPS://Example.com:443", "https://example.com"),
        ("http://example.com:8080", "http://example.com:8080"),
        ("http://[2001:DB8:0::1]", "http://[2001:db8::1]"),
        ("app://obsidian.md", "app://obsidian.md"),
    ] {
        let origin: Origin = text.parse().unwrap();
        assert_eq!(origin.to_string(), shown);
        assert_eq!(Origin::parse(shown), Ok(origin));
    }
}

/// Origins that must not pass for `victim` with `port`, made from patterns.
fn hostile(victim: &str, port: u16) -> Vec<String> {
    let mut origins = Vec::new();
    let good = format!("https://{victim}:{port}");
    // Names around the victim's, with and without its port.
    for host in [
        format!("evil{victim}"),
        format!("evil-{victim}"),
        format!("evil.{victim}"),
        format!("{victim}.evil.example"),
        format!("{victim}evil"),
        format!("{victim}-evil.example"),
        format!("{victim}."),
        format!("{victim}.."),
        format!(".{victim}"),
        format!("{victim}_.evil.example"),
        format!("{victim}%2eevil.example"),
        format!("{victim}%00.evil.example"),
        format!("{victim},evil.example"),
        format!("{victim};evil.example"),
        format!("{victim}!.evil.example"),
        format!("{victim}'.evil.example"),
        format!("{victim}=.evil.example"),
        format!("{victim}~evil.example"),
        format!("xn--{victim}"),
        victim.replace('.', "x"),
        victim.replace('.', "-"),
        victim.replace('.', ""),
        victim.replace('.', "%2e"),
        victim.replace('a', "%61"),
        victim.replace('a', "\u{430}"),   // Cyrillic а
        victim.replace('a', "\u{ff41}"),  // full width a
        victim.replace('.', "\u{3002}"),  // ideographic full stop
        victim.replace('.', "\u{ff0e}"),  // full width full stop
        victim.replace('e', "\u{435}"),   // Cyrillic е
        victim.replace('s', "\u{17f}"),   // long s, whose upper case is S
        victim.replace('k', "\u{212a}"),  // Kelvin sign, whose lower case is k
        victim.replace('m', "\u{200b}m"), // zero width space
        victim.replace('m', "m\u{ad}"),   // soft hyphen
        victim.rsplit('.').next().unwrap().to_owned(),
        victim.split('.').next().unwrap().to_owned(),
        "localhost".into(),
        "127.0.0.1".into(),
        "127.1".into(),
        "2130706433".into(),
        "0x7f000001".into(),
        "0x7f.1".into(),
        "0177.0.0.1".into(),
        "0".into(),
        "0.0.0.0".into(),
        "10.0.0.1".into(),
        "192.168.0.1".into(),
        "169.254.169.254".into(),
        "[::1]".into(),
        "[::]".into(),
        "[::ffff:127.0.0.1]".into(),
        "[::ffff:7f00:1]".into(),
        "[fe80::1%25eth0]".into(),
        format!("[{victim}]"),
        "*".into(),
        format!("*.{victim}"),
        "evil.example".into(),
    ] {
        for scheme in ["https", "http"] {
            origins.push(format!("{scheme}://{host}"));
            origins.push(format!("{scheme}://{host}:{port}"));
        }
    }
    // The victim's own name with another scheme.
    for scheme in [
        "ws",
        "wss",
        "ftp",
        "file",
        "data",
        "blob",
        "javascript",
        "about",
        "chrome-extension",
        "moz-extension",
        "app",
        "capacitor",
        "ionic",
        "httpx",
        "xhttps",
        "http+s",
        "view-source",
        "1http",
        "ht tps",
        "https:https",
        "",
    ] {
        origins.push(format!("{scheme}://{victim}:{port}"));
    }
    // The victim's own name with another port, or with a port that is none.
    for other in [
        "1",
        "0",
        "79",
        "81",
        "444",
        "8080",
        "65535",
        "65536",
        "99999",
        "-1",
        "+443",
        " 443",
        "44 3",
        "0443",
        "00443",
        "4433",
        "44",
        "443a",
        "x",
        "443:443",
        "443.",
        "0x1bb",
        "443/",
        "443@evil.example",
        "443#",
        "443?",
        "443\\",
        "\u{664}\u{664}\u{663}",
        "%34%34%33",
        "1e3",
        "443,443",
    ] {
        if other != port.to_string() {
            origins.push(format!("https://{victim}:{other}"));
        }
    }
    // User information, paths and what surrounds.
    for text in [
        "https://{v}@evil.example",
        "https://{v}:{p}@evil.example",
        "https://evil.example@{v}:{p}",
        "https://user:password@{v}:{p}",
        "https://@{v}:{p}",
        "https://evil.example#@{v}:{p}",
        "https://evil.example?@{v}:{p}",
        "https://evil.example/@{v}:{p}",
        "https://evil.example\\@{v}:{p}",
        "https://evil.example%40{v}:{p}",
        "https://evil.example%23{v}:{p}",
        "https://{v}:{p}/",
        "https://{v}:{p}/path",
        "https://{v}:{p}?",
        "https://{v}:{p}#",
        "https://{v}:{p}\\",
        "https://{v}:{p}/..",
        "https://{v}:{p}, https://evil.example",
        "https://evil.example, https://{v}:{p}",
        "https://{v}:{p} https://{v}:{p}",
        "https://{v}:{p},https://{v}:{p}",
        "https://evil.example https://{v}:{p}",
        "https://{v}:{p};",
        "\"https://{v}:{p}\"",
        "'https://{v}:{p}'",
        "<https://{v}:{p}>",
        "(https://{v}:{p})",
        "https:{v}:{p}",
        "https:/{v}:{p}",
        "https:///{v}:{p}",
        "https:\\\\{v}:{p}",
        "//{v}:{p}",
        "{v}",
        "{v}:{p}",
        "://{v}:{p}",
        "https//{v}:{p}",
        "https://https://{v}:{p}",
        "https:// {v}:{p}",
        "https://{v} :{p}",
        "https://{v}: {p}",
        "https://{v}\t:{p}",
        "https://{v}:{p}\u{a0}",
        "\u{feff}https://{v}:{p}",
        "https://{v}::{p}",
        "https://[{v}]:{p}",
        "https://{v}]:{p}",
        "https://[{v}:{p}",
        "url=https://{v}:{p}",
        "https%3a%2f%2f{v}:{p}",
        "https://{v}%3a{p}",
        "https://{v}:{p}%00",
        "https://{v}:{p}%0d%0a",
    ] {
        origins.push(
            text.replace("{v}", victim)
                .replace("{p}", &port.to_string()),
        );
    }
    for text in [
        "null",
        "NULL",
        "Null",
        "null,null",
        "\"null\"",
        "null://",
        "undefined",
        "none",
        "*",
        "",
        "file://",
        "about:blank",
        "data:text/html,x",
        "https://",
        "http://",
        "https",
        "true",
        "0",
        "/",
        ".",
        "https://null",
        "about:srcdoc",
        "blob:",
        "*://*",
    ] {
        origins.push(text.to_owned());
    }
    origins.push(format!("{good}{}", "a".repeat(4_000)));
    origins.push("a".repeat(8_000));
    origins
}

#[test]
fn hostile_origins_are_refused() {
    let mut count = 0;
    for (victim, port) in [
        ("market.example", 8443),
        ("market.example", 443),
        ("kiosk.shop.example", 8443),
    ] {
        let listing = listed(&[&format!("https://{victim}:{port}")]);
        let host = format!("{victim}:{port}");
        let good = format!("https://{victim}:{port}");
        assert!(OriginPolicy::SameOrigin.allows(&from(&host, &good, true)));
        assert!(listing.allows(&from("elsewhere.example", &good, true)));
        for origin in hostile(victim, port) {
            // A pattern that leaves the name as it was says nothing, and on 443 the plain name is the same origin.
            if Origin::parse(&origin) == Origin::parse(&good) {
                let unchanged =
                    [good.as_str(), &format!("https://{victim}")].contains(&origin.as_str());
                assert!(unchanged, "{origin} passes for {good}");
                continue;
            }
            count += 1;
            assert!(
                !OriginPolicy::SameOrigin.allows(&from(&host, &origin, true)),
                "same origin: {origin}"
            );
            assert!(
                !listing.allows(&from("elsewhere.example", &origin, true)),
                "listed: {origin}"
            );
        }
    }
    assert!(count >= 600, "{count}");
}

#[test]
fn octets_beyond_ascii_and_any_single_wrong_octet_are_refused() {
    let good = b"https://market.example:8443";
    for at in 0..good.len() {
        for octet in (0x20..0x7f).chain(0x80..=0xff) {
            let mut origin = good.to_vec();
            origin[at] = octet;
            if origin.eq_ignore_ascii_case(good) {
                continue;
            }
            let line = [b"Origin: ", &origin[..], b"\r\n"].concat();
            let request = with_lines("market.example:8443", &line, true);
            assert!(
                !OriginPolicy::SameOrigin.allows(&request),
                "{}",
                origin.escape_ascii()
            );
        }
    }
}

#[test]
fn text_of_another_form_is_no_origin() {
    for bad in [
        "null",
        "",
        "example.com",
        "https://",
        "https://a/",
        "https://a:",
        "https://a:0443",
        "https://a:+1",
        "https://a:65536",
        "https://u@a",
        "https://a%2eb",
        "https://[::1",
        "https://[::1]:",
        "1http://a",
        "ht tp://a",
        " https://a",
        "https://a ",
        "https://a,b",
        "https://é.example",
    ] {
        assert_eq!(Origin::parse(bad), Err(BadOrigin), "{bad:?}");
    }
}
