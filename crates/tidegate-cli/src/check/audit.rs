//! A check while it runs: the prober, the report it fills, and what happens to each single case. The levels stand in
//! their own files.

use super::frames;
use super::head::Request;
use super::prober::{Prober, Said, Verdict};
use super::report::{Evidence, Report, Unclear};
use super::rules::rule;
use crate::connect::hex;
use std::cell::RefCell;
use std::time::Duration;

/// A check of one endpoint.
pub(crate) struct Audit {
    pub(crate) prober: Prober,
    /// Findings to look for; all when there are none.
    pub(crate) only: Vec<String>,
    /// How long half a request may stay.
    pub(crate) wait: Duration,
    pub(crate) max_message: usize,
    pub(crate) max_connections: usize,
    pub(crate) report: RefCell<Report>,
}

impl Audit {
    /// Whether this finding is looked for.
    pub(crate) fn wants(&self, id: &str) -> bool {
        let named = |only: &String| id == only || id.split('.').next() == Some(only);
        self.only.is_empty() || self.only.iter().any(named)
    }

    pub(crate) fn find(&self, id: &str, evidence: Evidence) {
        if self.wants(id) {
            self.report.borrow_mut().find(id, evidence);
        }
    }

    pub(crate) fn pass(&self) {
        self.report.borrow_mut().passed += 1;
    }

    pub(crate) fn unclear(&self, id: &str, case: &str, why: impl Into<String>) {
        let (rule, case, why) = (rule(id), case.to_owned(), why.into());
        self.report
            .borrow_mut()
            .unclear
            .push(Unclear { rule, case, why });
    }

    /// Sends a request that must not be answered with 101.
    pub(crate) async fn must_refuse(&self, id: &str, case: &str, request: &Request, expected: u16) {
        let mut said = self.prober.ask(request, 1).await;
        // What may be timing, or a server that was just busy, is asked once more.
        if matches!(said, Err(_) | Ok(Said::Nothing | Said::Closed)) {
            said = self.prober.ask(request, 2).await;
        }
        let refusal = match expected {
            0 => "no 101".to_owned(),
            status => format!("{status}, no 101"),
        };
        let evidence = |got: String| Evidence {
            case: case.to_owned(),
            gist: request.difference(&self.prober.good().0),
            sent: request.shown(),
            got,
            expected: refusal.clone(),
        };
        match said {
            Err(why) => self.unclear(id, case, why),
            Ok(Said::Nothing) => self.unclear(id, case, "no answer in time"),
            Ok(Said::NoHttp) => self.unclear(id, case, "the answer is no HTTP"),
            Ok(Said::Closed) => {
                self.find("H0.no-answer", evidence("closed without an answer".into()));
                self.pass()
            }
            Ok(Said::Answer(answer, _)) => {
                if answer.status == 101 {
                    self.find(id, evidence(answer.shown()));
                    return;
                }
                if answer.status >= 500 && answer.status != 501 && answer.status != 505 {
                    self.find("H0.server-error", evidence(answer.shown()));
                }
                if id == "H7.version" && !answer.lists("Sec-WebSocket-Version", "13") {
                    self.find("H7.version-answer", evidence(answer.shown()));
                }
                self.pass()
            }
        }
    }

    /// Sends frames that must fail the connection, with this code.
    pub(crate) async fn must_fail(&self, id: &str, case: &str, octets: &[u8], expected: u16) {
        let mut verdict = self.prober.say(octets, 1).await;
        let firm = |verdict: &Verdict| matches!(verdict, Verdict::Refused(Some(code)) if *code == expected);
        if !firm(&verdict) {
            let again = self.prober.say(octets, 2).await;
            if !matches!(again, Verdict::NotAsked(_)) {
                verdict = again;
            }
        }
        let evidence = |got: String| Evidence {
            case: case.to_owned(),
            gist: shown(octets),
            sent: shown(octets),
            got,
            expected: format!("Close {expected}"),
        };
        match verdict {
            Verdict::Accepted => {
                self.find(
                    id,
                    evidence("accepted silently: a ping after it was answered".into()),
                );
            }
            Verdict::Refused(code) if taken_for_good(id, octets, code) => {
                let code = code.map_or("without a code".to_owned(), |code| code.to_string());
                self.find(id, evidence(format!("answered as a good Close: {code}")));
            }
            Verdict::Refused(code) => {
                // Codes from 3000 on are the application's: it may have seen what it did not like first.
                if code != Some(expected) && code.is_none_or(|code| code < 3000) {
                    let code = code.map_or("Close without a code".to_owned(), |code| {
                        format!("Close {code}")
                    });
                    self.find("F0.close-code", evidence(code));
                }
                self.pass()
            }
            Verdict::Dropped => {
                self.find("F0.no-close", evidence("closed without a Close".into()));
                self.pass()
            }
            Verdict::Silent => self.unclear(
                id,
                case,
                "neither refused nor answered: it may wait for more octets",
            ),
            Verdict::NotAsked(why) => self.unclear(id, case, why),
        }
    }

    /// Whether the server still takes good handshakes.
    pub(crate) async fn is_alive(&self) -> Result<(), String> {
        match self.prober.open().await {
            Ok(_) => Ok(()),
            Err(_) => self.prober.open().await.map(drop),
        }
    }
}

/// A bad Close that was answered as if it were good: with its own code, the usual one, or none.
fn taken_for_good(id: &str, octets: &[u8], answer: Option<u16>) -> bool {
    let sent = frames::take(&mut octets.to_vec()).and_then(|heard| heard.code());
    let about_closing = matches!(id, "F10.close-code" | "F10.close-body" | "F9.close-reason");
    about_closing && (answer == sent || matches!(answer, None | Some(1000 | 1005)))
}

/// Octets of frames for people.
pub(crate) fn shown(octets: &[u8]) -> String {
    let digits: Vec<String> = octets
        .iter()
        .take(MOST_SHOWN)
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let more = octets.len().saturating_sub(MOST_SHOWN);
    match more {
        0 => digits.join(" "),
        more => hex::harmless(&format!("{} … ({more} more)", digits.join(" "))),
    }
}

const MOST_SHOWN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::frames::{CLOSE, TEXT, write};

    #[test]
    fn a_bad_close_that_gets_a_good_answer_was_taken() {
        let close = |code: u16| write(CLOSE, true, &code.to_be_bytes());
        let rows = [
            ("F10.close-code", close(1005), Some(1005), true),
            ("F10.close-code", close(1005), Some(1000), true),
            ("F10.close-code", close(1005), None, true),
            ("F10.close-code", close(1005), Some(1002), false),
            ("F10.close-body", write(CLOSE, true, &[3]), None, true),
            (
                "F9.close-reason",
                write(CLOSE, true, b"\x03\xe8\xff"),
                Some(1007),
                false,
            ),
            ("F1.unmasked", write(TEXT, true, b"a"), Some(1000), false),
        ];
        for (id, octets, answer, expected) in rows {
            assert_eq!(
                taken_for_good(id, &octets, answer),
                expected,
                "{id} {answer:?}"
            );
        }
    }
}
