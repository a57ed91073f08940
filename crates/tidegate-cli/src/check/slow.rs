//! What shows only in time: half a request, and a connection on which nothing happens. It waits beside the other cases.

use super::args::Level;
use super::audit::Audit;
use super::frames::{CLOSE, PING};
use super::prober::Next;
use super::report::{Evidence, Limit};
use std::time::Duration;
use tokio::time::Instant;

/// Waits for both.
pub(crate) async fn run(audit: &Audit, level: Level) {
    if level == Level::Protocol && audit.only.is_empty() {
        tokio::join!(half_a_request(audit), idle(audit));
    } else {
        half_a_request(audit).await;
    }
}

/// H11: a head that stops in the middle. A server that gives up closes, or answers 408.
async fn half_a_request(audit: &Audit) {
    const ID: &str = "H11.handshake-timeout";
    if !audit.wants(ID) {
        return;
    }
    let case = "a request that stops in its second line";
    let mut line = match audit.prober.connect().await {
        Ok(line) => line,
        Err(why) => return audit.unclear(ID, case, why),
    };
    let octets = audit.prober.good().0.octets();
    let half = &octets[..octets
        .len()
        .min(octets.iter().position(|&b| b == b'\n').unwrap_or(0) + 8)];
    let start = Instant::now();
    let until = start + audit.wait;
    line.send(half, until).await;
    while line.hear(until).await {}
    let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());
    let words = match line.has_ended || !line.inbox.is_empty() {
        true => {
            audit.pass();
            format!("closed after {}", seconds(start.elapsed()))
        }
        false => {
            let evidence = Evidence {
                case: case.to_owned(),
                gist: case.to_owned(),
                sent: String::from_utf8_lossy(half).trim_end().to_owned(),
                got: format!("still open after {}", seconds(audit.wait)),
                expected: format!("closed or answered within {}", seconds(audit.wait)),
            };
            audit.find(ID, evidence);
            format!("none within {}", seconds(audit.wait))
        }
    };
    limit(audit, "time for a request", words);
}

/// R2: a silent WebSocket. How long it may stay is the server's choice, so this is no finding.
async fn idle(audit: &Audit) {
    let mut socket = match audit.prober.open().await {
        Ok(socket) => socket,
        Err(_) => return limit(audit, "time without a message", "not told".into()),
    };
    let start = Instant::now();
    let until = start + audit.wait;
    let words = loop {
        let after = |start: Instant| format!("after {:.0} s", start.elapsed().as_secs_f64());
        match socket.next(until).await {
            Next::Frame(heard) if heard.opcode == PING => break format!("pinged {}", after(start)),
            Next::Frame(heard) if heard.opcode == CLOSE => {
                let code = heard
                    .code()
                    .map_or("no code".to_owned(), |code| code.to_string());
                break format!("closed {} with {code}", after(start));
            }
            Next::Frame(_) => {}
            Next::Ended => break format!("ended {}", after(start)),
            Next::Late => {
                break format!(
                    "neither ping nor Close within {:.0} s",
                    audit.wait.as_secs_f64()
                );
            }
        }
    };
    limit(audit, "time without a message", words);
}

fn limit(audit: &Audit, name: &'static str, words: String) {
    let (passed, refused) = (None, None);
    audit.report.borrow_mut().limits.push(Limit {
        name,
        words,
        passed,
        refused,
    });
}
