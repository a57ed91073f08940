//! The first level: one good handshake, looked at. It sends nothing that is wrong.

use super::audit::Audit;
use super::head::{Answer, Request};
use super::prober::Said;
use super::report::Evidence;
use crate::error::{Exit, Failure};
use tidegate_proto::handshake::key::accept_for;

/// Looks at a good handshake.
///
/// # Errors
/// There is no WebSocket server, or it lets us not in: then there is nothing to check.
pub(crate) async fn run(audit: &Audit) -> Result<(), Failure> {
    let (request, key) = audit.prober.good();
    let answer = answer(audit, &request).await?;
    let evidence = |got: &str, expected: &str| Evidence {
        case: "a good handshake".into(),
        gist: "a good handshake".into(),
        sent: request.shown(),
        got: got.to_owned(),
        expected: expected.to_owned(),
    };
    let judge = |id: &str, is_good: bool, got: &str, expected: &str| match is_good {
        true => audit.pass(),
        false => audit.find(id, evidence(got, expected)),
    };
    let first = |name| {
        answer
            .values(name)
            .next()
            .unwrap_or("no such field")
            .to_owned()
    };

    let right = String::from_utf8_lossy(&accept_for(key.as_bytes())).into_owned();
    let accept: Vec<&str> = answer.values("Sec-WebSocket-Accept").collect();
    judge(
        "H3.accept",
        accept == [right.as_str()],
        &first("Sec-WebSocket-Accept"),
        &right,
    );
    let switches = answer.start.starts_with("HTTP/1.1")
        && answer.lists("Upgrade", "websocket")
        && answer.lists("Connection", "upgrade");
    judge(
        "H3.answer",
        switches,
        &answer.shown(),
        "HTTP/1.1 101 with Upgrade: websocket and Connection: Upgrade",
    );
    let extensions = answer.values("Sec-WebSocket-Extensions").next();
    judge(
        "H10.unoffered-extension",
        extensions.is_none(),
        extensions.unwrap_or_default(),
        "none: none was offered",
    );
    let (chosen, offered) = (
        answer.values("Sec-WebSocket-Protocol").next(),
        &audit.prober.usual.protocols,
    );
    let fits = chosen.is_none_or(|chosen| offered.iter().any(|offer| offer == chosen));
    judge(
        "H15.unoffered-subprotocol",
        fits,
        chosen.unwrap_or_default(),
        "one of the request's, or none",
    );
    for cookie in answer.values("Set-Cookie") {
        let lacks = lacks_of(cookie, audit.prober.target.secure);
        judge(
            "P1.cookie",
            lacks.is_empty(),
            &format!("a cookie without {}", lacks.join(", ")),
            "all of them",
        );
    }
    let server = first("Server");
    judge(
        "P2.banner",
        !server.contains(|c: char| c.is_ascii_digit()),
        &server,
        "a name at most",
    );
    let secret = secret_in(&audit.prober.target.path);
    judge(
        "H2.secret-in-url",
        secret.is_none(),
        secret.unwrap_or_default(),
        "no secret",
    );
    let target = &audit.prober.target;
    judge(
        "H16.plain",
        target.secure || target.is_here(),
        "ws:// to another machine",
        "wss://",
    );
    tell(audit, &answer);
    Ok(())
}

async fn answer(audit: &Audit, request: &Request) -> Result<Answer, Failure> {
    let mut said = audit.prober.ask(request, 2).await;
    if matches!(said, Err(_) | Ok(Said::Nothing | Said::Closed)) {
        said = audit.prober.ask(request, 4).await;
    }
    let failure = |exit, line: String| Failure { exit, line };
    match said {
        Ok(Said::Answer(answer, _)) if answer.status == 101 => Ok(answer),
        Ok(Said::Answer(answer, _)) => Err(failure(Exit::NotConnected, refused(&answer))),
        Ok(Said::NoHttp) => Err(failure(
            Exit::Protocol,
            "what answers there speaks no HTTP".into(),
        )),
        Ok(Said::Closed) => Err(failure(
            Exit::Protocol,
            "the server closes on a good handshake, without an answer".into(),
        )),
        Ok(Said::Nothing) => Err(failure(
            Exit::NotConnected,
            "the server does not answer a good handshake".into(),
        )),
        Err(why) => Err(failure(
            Exit::NotConnected,
            format!("could not connect: {why}"),
        )),
    }
}

/// What to try when a good handshake is refused.
fn refused(answer: &Answer) -> String {
    let hint = match answer.status {
        401 => "it wants to know who one is: -H 'Authorization: …' or -H 'Cookie: …'",
        403 => "it may want --origin, or credentials with -H",
        400 | 426 => "it may want a subprotocol: --protocol",
        404 | 405 => "the path may be another one",
        300..400 => "it is elsewhere: check the URL that it tells",
        _ => "there is nothing to check",
    };
    format!(
        "the server refuses a good handshake with {}; {hint}",
        answer.status
    )
}

/// Attributes that a cookie should have.
fn lacks_of(cookie: &str, secure: bool) -> Vec<&'static str> {
    let attributes: Vec<String> = cookie
        .split(';')
        .skip(1)
        .map(|word| word.trim().to_ascii_lowercase())
        .collect();
    let has = |name: &str| {
        attributes
            .iter()
            .any(|word| word.split('=').next() == Some(name))
    };
    let open = attributes.iter().any(|word| word == "samesite=none");
    let mut lacks = Vec::new();
    if !has("httponly") {
        lacks.push("HttpOnly");
    }
    if secure && !has("secure") {
        lacks.push("Secure");
    }
    if !has("samesite") || open {
        lacks.push("SameSite=Lax or Strict");
    }
    lacks
}

/// The name of a parameter that looks like a secret's.
fn secret_in(path: &str) -> Option<&str> {
    let query = path.split_once('?')?.1;
    let names = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name);
    const SECRETS: [&str; 9] = [
        "token",
        "access_token",
        "jwt",
        "password",
        "secret",
        "api_key",
        "apikey",
        "session",
        "auth",
    ];
    names
        .into_iter()
        .find(|name| SECRETS.contains(&name.to_ascii_lowercase().as_str()))
}

/// What is good to know.
fn tell(audit: &Audit, answer: &Answer) {
    let mut report = audit.report.borrow_mut();
    let scheme = match audit.prober.target.secure {
        true => "wss",
        false => "ws, without TLS",
    };
    report.facts.push(("scheme", scheme.to_owned()));
    for (fact, name) in [
        ("server", "Server"),
        ("subprotocol", "Sec-WebSocket-Protocol"),
    ] {
        if let Some(value) = answer.values(name).next() {
            report
                .facts
                .push((fact, crate::connect::hex::harmless(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_secrets_are_seen() {
        let rows: [(&str, bool, &[&str]); 4] = [
            ("a=b; HttpOnly; Secure; SameSite=Lax", true, &[]),
            ("a=b; httponly; samesite=strict", false, &[]),
            (
                "a=b; HttpOnly; SameSite=None",
                true,
                &["Secure", "SameSite=Lax or Strict"],
            ),
            ("a=b", false, &["HttpOnly", "SameSite=Lax or Strict"]),
        ];
        for (cookie, secure, expected) in rows {
            assert_eq!(lacks_of(cookie, secure), expected, "{cookie}");
        }
        assert_eq!(secret_in("/a?b=1&Token=x"), Some("Token"));
        assert_eq!(secret_in("/token?tokens=1"), None);
    }
}
