//! The second level: requests that must not succeed. Most are rows of the case table; here stand the ones that depend on
//! the endpoint.

use super::audit::Audit;
use super::cases::cases;
use super::head::{Answer, Request};
use super::prober::Said;
use super::report::Evidence;

/// Asks all of them.
pub(crate) async fn run(audit: &Audit) {
    for case in cases()
        .iter()
        .filter(|case| case.is_request() && audit.wants(case.rule.id))
    {
        let request = Request::of_row(&case.octets, &audit.prober.target, &audit.prober.usual);
        audit
            .must_refuse(case.rule.id, case.name, &request, case.expected)
            .await;
    }
    rebinding(audit).await;
    header_flood(audit).await;
    offers(audit).await;
    reflections(audit).await;
}

/// H12: a page of another site whose name resolves to this machine.
async fn rebinding(audit: &Audit) {
    if !audit.wants("H12.rebinding") || !audit.prober.target.is_here() {
        return;
    }
    let scheme = if audit.prober.target.secure {
        "https"
    } else {
        "http"
    };
    let request = audit.prober.good().0;
    let request = request
        .with("Host", "rebinding.example")
        .with("Origin", &format!("{scheme}://rebinding.example"));
    audit
        .must_refuse(
            "H12.rebinding",
            "a foreign Host, and a page of it",
            &request,
            421,
        )
        .await;
}

/// H9: many fields.
async fn header_flood(audit: &Audit) {
    if !audit.wants("H9.header-flood") {
        return;
    }
    let mut request = audit.prober.good().0;
    let value = "a".repeat(980);
    for n in 0..300 {
        request = request.with(&format!("X-Flood-{n:03}"), &value);
    }
    audit
        .must_refuse(
            "H9.header-flood",
            "300 fields of 1,000 octets",
            &request,
            431,
        )
        .await;
}

/// H10, H15: offers that nobody can take up.
async fn offers(audit: &Audit) {
    let rows = [
        (
            "Sec-WebSocket-Extensions",
            "x-tidegate-check",
            "H10.unknown-extension",
        ),
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; server_max_window_bits=7",
            "H10.deflate-parameter",
        ),
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; x_tidegate_check=1",
            "H10.deflate-parameter",
        ),
        (
            "Sec-WebSocket-Protocol",
            "x-tidegate-check",
            "H15.any-subprotocol",
        ),
    ];
    for (field, offer, id) in rows.into_iter().filter(|(_, _, id)| audit.wants(id)) {
        let request = audit.prober.good().0.with(field, offer);
        let case = format!("{field}: {offer}");
        let Some(answer) = answer(audit, &request, id, &case).await else {
            continue;
        };
        let chosen = answer.values(field).next().filter(|_| answer.status == 101);
        let evidence = |chosen: &str| Evidence {
            case: case.clone(),
            gist: case.clone(),
            sent: request.shown(),
            got: format!("{field}: {chosen}"),
            expected: "declined: a 101 without the field, or a refusal".into(),
        };
        let offered =
            |chosen: &str| chosen.split(';').next().map(str::trim) == offer.split(';').next();
        match chosen {
            None => audit.pass(),
            Some(chosen) if offered(chosen) => audit.find(id, evidence(chosen)),
            Some(chosen) if field.ends_with("Extensions") => {
                audit.find("H10.unoffered-extension", evidence(chosen))
            }
            Some(chosen) => audit.find("H15.unoffered-subprotocol", evidence(chosen)),
        }
    }
}

/// H17: what a careless writer of heads would copy.
async fn reflections(audit: &Audit) {
    if !audit.wants("H17.reflected") {
        return;
    }
    let target = &audit.prober.target;
    let good = || audit.prober.good().0;
    let mark = "X-Tidegate-Check";
    let sign = if target.path.contains('?') { '&' } else { '?' };
    let path = format!("GET {}{sign}x=%0d%0a{mark}:%201 HTTP/1.1", target.path);
    let rows = [
        (
            "CR LF in a subprotocol, as an escape",
            good().with("Sec-WebSocket-Protocol", &format!("x%0d%0a{mark}: 1")),
        ),
        (
            "CR in a subprotocol, before a field",
            good().with("Sec-WebSocket-Protocol", &format!("x\r{mark}: 1")),
        ),
        (
            "CR in an extension",
            good().with("Sec-WebSocket-Extensions", &format!("x\r{mark}: 1")),
        ),
        ("CR LF in the query, as an escape", good().to(&path)),
    ];
    for (case, request) in rows {
        let Some(answer) = answer(audit, &request, "H17.reflected", case).await else {
            continue;
        };
        match answer.values(mark).next() {
            None => audit.pass(),
            Some(_) => audit.find(
                "H17.reflected",
                Evidence {
                    case: case.to_owned(),
                    gist: request.difference(&good()),
                    sent: request.shown(),
                    got: answer.shown(),
                    expected: format!("no field {mark}"),
                },
            ),
        }
    }
}

/// An answer of any status; without one the case is inconclusive, or refused.
async fn answer(audit: &Audit, request: &Request, id: &str, case: &str) -> Option<Answer> {
    let mut why = String::new();
    for slower in [1, 2] {
        match audit.prober.ask(request, slower).await {
            Ok(Said::Answer(answer, _)) => return Some(answer),
            // It was not accepted, which is all that is asked for.
            Ok(Said::Closed) => {
                audit.pass();
                return None;
            }
            Ok(Said::NoHttp) => why = "the answer is no HTTP".into(),
            Ok(Said::Nothing) => why = "no answer in time".into(),
            Err(error) => why = error,
        }
    }
    audit.unclear(id, case, why);
    None
}
