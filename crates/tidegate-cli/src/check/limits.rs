//! Limits, found by going up in steps and then halving: message, frame, fragments, pings, messages, connections. That one
//! is missing is a finding where a default is stated; the rest is told as it is.

use super::audit::Audit;
use super::frames::{self, BINARY, CONT, PING, PONG, TEXT};
use super::prober::{FENCE, Next, Verdict};
use super::report::{Evidence, Limit};
use tokio::time::Instant;

/// Looks for all of them.
pub(crate) async fn run(audit: &Audit) {
    let empty = |count: u64| {
        let mut octets = frames::write(TEXT, false, b"");
        octets.extend(frames::write(CONT, false, b"").repeat(count as usize - 1));
        octets
    };
    let fragments = Search {
        id: "R4.fragments",
        unit: number,
        steps: &[16, 256, 1_024, 4_096, 16_384, 65_536, 262_144],
    };
    fragments.run(audit, "fragments of a message", empty).await;
    pings(audit).await;
    messages(audit).await;
    connections(audit).await;
    sizes(audit).await;
}

/// F5: how long a message may be. It comes last, because it costs the most.
async fn sizes(audit: &Audit) {
    let most = audit.max_message as u64;
    let sizes: Vec<u64> = (0..)
        .map(|n| (64 << 10) << (2 * n))
        .take_while(|size| *size < most)
        .chain([most])
        .collect();
    let size = Search {
        id: "F5.size",
        unit: size_in_words,
        steps: &sizes,
    };
    // Unfinished, so that no application judges what it says.
    let one_frame = |size: u64| frames::write(BINARY, false, &vec![0; size as usize]);
    let pieces = |size: u64| {
        let (mut octets, mut left, mut opcode) = (Vec::new(), size as usize, BINARY);
        while left > 0 {
            let len = left.min(PIECE);
            octets.extend(frames::write(opcode, false, &vec![0; len]));
            (left, opcode) = (left - len, CONT);
        }
        octets
    };
    size.run(audit, "message in one frame", one_frame).await;
    size.run(audit, "message in frames of 64 KiB", pieces).await;
}

/// A search for one limit.
struct Search<'a> {
    /// Found when the last step is accepted.
    id: &'static str,
    unit: fn(u64) -> String,
    steps: &'a [u64],
}

impl Search<'_> {
    async fn run(&self, audit: &Audit, name: &'static str, octets: impl Fn(u64) -> Vec<u8>) {
        if !audit.wants(self.id) {
            return;
        }
        let (mut passed, mut refused, mut how) = (0, None, Verdict::Silent);
        for &step in self.steps {
            how = self.ask(audit, &octets(step)).await;
            match how {
                Verdict::Accepted => passed = step,
                Verdict::Refused(_) | Verdict::Dropped => {
                    refused = Some(step);
                    break;
                }
                Verdict::Silent | Verdict::NotAsked(_) => {
                    let why = match how {
                        Verdict::NotAsked(why) => why,
                        _ => "neither refused nor answered".into(),
                    };
                    return audit.unclear(self.id, &format!("{name}: {}", (self.unit)(step)), why);
                }
            }
        }
        let Some(mut least) = refused else {
            return self.report_none(audit, name, passed);
        };
        audit.pass();
        // Limits like round numbers: one more than what passed is the best guess.
        let mut guess = passed + 1;
        let mut first = true;
        for _ in 0..MOST_HALVINGS {
            // To the octet, where that costs neither others nor us much.
            let cheap = audit.prober.target.is_here() && least <= 1 << 20;
            let near = !cheap && least - passed <= least / 32;
            if least - passed <= 1 || near && !first {
                break;
            }
            first = false;
            let asked = octets(guess);
            if !audit.prober.can_afford(asked.len() * 4) {
                break;
            }
            match self.ask(audit, &asked).await {
                Verdict::Accepted => passed = guess,
                verdict @ (Verdict::Refused(_) | Verdict::Dropped) => {
                    (least, how) = (guess, verdict)
                }
                Verdict::Silent | Verdict::NotAsked(_) => break,
            }
            guess = passed + (least - passed) / 2;
        }
        let about = if least - passed > 1 { "about " } else { "" };
        let words = format!("{about}{}, then {}", (self.unit)(passed), ending(&how));
        let (passed, refused) = (Some(passed), Some(least));
        audit.report.borrow_mut().limits.push(Limit {
            name,
            words,
            passed,
            refused,
        });
    }

    async fn ask(&self, audit: &Audit, octets: &[u8]) -> Verdict {
        let verdict = audit.prober.say_before(b"", octets, 1).await;
        match verdict {
            Verdict::Silent | Verdict::NotAsked(_) => audit.prober.say_before(b"", octets, 3).await,
            verdict => verdict,
        }
    }

    fn report_none(&self, audit: &Audit, name: &'static str, passed: u64) {
        let words = format!("none up to {}", (self.unit)(passed));
        audit.find(
            self.id,
            evidence(
                name,
                &(self.unit)(passed),
                "taken: a ping after it was answered",
                "refused",
            ),
        );
        let (passed, refused) = (Some(passed), None);
        audit.report.borrow_mut().limits.push(Limit {
            name,
            words,
            passed,
            refused,
        });
    }
}

/// R3: many pings at once.
async fn pings(audit: &Audit) {
    if !audit.wants("R3.ping-flood") {
        return;
    }
    let octets = frames::write(PING, true, b"").repeat(PINGS);
    let (mut pongs, mut how) = (0, Verdict::Silent);
    for slower in [2, 4] {
        let mut socket = match audit.prober.open().await {
            Ok(socket) => socket,
            Err(why) => return audit.unclear("R3.ping-flood", "5,000 pings", why),
        };
        let until = Instant::now() + audit.prober.patience * slower;
        socket.line.send(&octets, until).await;
        socket
            .line
            .send(&frames::write(PING, true, FENCE), until)
            .await;
        (pongs, how) = (0, Verdict::Silent);
        loop {
            match socket.next(until).await {
                Next::Frame(heard) if heard.opcode == frames::CLOSE => {
                    break how = Verdict::Refused(heard.code());
                }
                Next::Frame(heard) if heard.opcode == PONG && heard.payload == FENCE => {
                    break how = Verdict::Accepted;
                }
                Next::Frame(heard) if heard.opcode == PONG => pongs += 1,
                Next::Frame(_) => {}
                Next::Ended => break how = Verdict::Dropped,
                Next::Late => break,
            }
        }
        if how != Verdict::Silent {
            break;
        }
    }
    let words = match &how {
        Verdict::Accepted if pongs == PINGS => {
            let got = "a Pong for each";
            audit.find(
                "R3.ping-flood",
                evidence(
                    "pings at once",
                    "5,000 pings",
                    got,
                    "a Close 1008, or fewer Pongs",
                ),
            );
            "none up to 5,000".to_owned()
        }
        // Whoever answers the newest only keeps no queue (RFC 6455 §5.5.3).
        Verdict::Accepted => {
            audit.pass();
            format!("5,000 taken, {} answered", number(pongs as u64))
        }
        Verdict::Silent => {
            return audit.unclear("R3.ping-flood", "5,000 pings", "no answer in time");
        }
        how => {
            audit.pass();
            format!("{} answered, then {}", number(pongs as u64), ending(how))
        }
    };
    let (passed, refused) = (Some(pongs as u64), None);
    audit.report.borrow_mut().limits.push(Limit {
        name: "pings at once",
        words,
        passed,
        refused,
    });
}

/// Short messages at once. What an application makes of them is its own affair, so this is no finding.
async fn messages(audit: &Audit) {
    if !audit.only.is_empty() {
        return;
    }
    let octets = frames::write(TEXT, true, b"1").repeat(MESSAGES);
    let words = match audit.prober.say(&octets, 2).await {
        Verdict::Accepted => "none up to 2,000".to_owned(),
        how @ Verdict::Refused(Some(1008)) => format!("below 2,000, then {}", ending(&how)),
        how @ (Verdict::Refused(_) | Verdict::Dropped) => {
            format!("not told: the application ended it, {}", ending(&how))
        }
        Verdict::Silent | Verdict::NotAsked(_) => "not told".to_owned(),
    };
    let (passed, refused) = (None, None);
    audit.report.borrow_mut().limits.push(Limit {
        name: "messages at once",
        words,
        passed,
        refused,
    });
}

/// R1: connections of one address at the same time.
async fn connections(audit: &Audit) {
    if !audit.only.is_empty() {
        return;
    }
    let mut open = Vec::new();
    let mut why = None;
    while open.len() < audit.max_connections && why.is_none() {
        match audit.prober.open().await {
            Ok(socket) => open.push(socket),
            Err(error) => why = Some(error),
        }
    }
    let count = open.len() as u64;
    let words = match &why {
        None => format!("none up to {count}"),
        Some(why) => format!("{count}, then: {why}"),
    };
    let close = frames::write(frames::CLOSE, true, &1000u16.to_be_bytes());
    for socket in &mut open {
        socket
            .line
            .send(&close, Instant::now() + audit.prober.patience)
            .await;
    }
    let (passed, refused) = (Some(count), why.map(|_| count + 1));
    audit.report.borrow_mut().limits.push(Limit {
        name: "connections at once",
        words,
        passed,
        refused,
    });
}

fn evidence(case: &str, gist: &str, got: &str, expected: &str) -> Evidence {
    Evidence {
        case: case.to_owned(),
        gist: gist.to_owned(),
        sent: gist.to_owned(),
        got: got.to_owned(),
        expected: expected.to_owned(),
    }
}

fn ending(how: &Verdict) -> String {
    match how {
        Verdict::Refused(Some(code)) => format!("Close {code}"),
        Verdict::Refused(None) => "a Close without a code".into(),
        _ => "the end without a Close".into(),
    }
}

/// 1 MiB, 64 KiB, or so many octets.
fn size_in_words(octets: u64) -> String {
    match octets {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{} octets", number(n)),
    }
}

fn number(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or(""))
        .collect();
    groups.join(",")
}

const PIECE: usize = 64 << 10;
const PINGS: usize = 5_000;
const MESSAGES: usize = 2_000;
const MOST_HALVINGS: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_read_easily() {
        assert_eq!(size_in_words(1 << 20), "1 MiB");
        assert_eq!(size_in_words(65_536), "64 KiB");
        assert_eq!(size_in_words(1_047_552), "1023 KiB");
        assert_eq!(size_in_words(1_047_553), "1,047,553 octets");
        assert_eq!(
            (number(0), number(16_384)),
            ("0".to_owned(), "16,384".to_owned())
        );
    }
}
