//! The third level: frames that must fail the connection, as the case table has them, and what must be answered.

use super::audit::Audit;
use super::cases::cases;
use super::frames::{self, CLOSE, CONT, Heard, PING, PONG, TEXT};
use super::prober::{FENCE, Next, Socket};
use super::report::Evidence;
use tokio::time::Instant;

/// Asks all of it.
pub(crate) async fn run(audit: &Audit) {
    manners(audit).await;
    let rows = cases()
        .iter()
        .filter(|case| !case.is_request() && audit.wants(case.rule.id));
    for case in rows {
        match case.rule.id {
            "F11.after-close" => after_close(audit, case.name, &case.octets).await,
            id => {
                audit
                    .must_fail(id, case.name, &case.octets, case.expected)
                    .await
            }
        }
    }
}

/// What came over a socket until it ended or the patience did.
#[derive(Default)]
struct Talk {
    frames: Vec<Heard>,
    has_ended: bool,
}

impl Talk {
    fn has_pong(&self, payload: &[u8]) -> bool {
        self.frames
            .iter()
            .any(|heard| heard.opcode == PONG && heard.payload == payload)
    }

    fn has_close(&self) -> bool {
        self.frames.iter().any(|heard| heard.opcode == CLOSE)
    }
}

/// Listens until `enough`, the end, or the patience's end.
async fn listen(socket: &mut Socket, until: Instant, enough: impl Fn(&Talk) -> bool) -> Talk {
    let mut talk = Talk::default();
    while !enough(&talk) {
        match socket.next(until).await {
            Next::Frame(heard) => talk.frames.push(heard),
            Next::Ended => {
                talk.has_ended = true;
                break;
            }
            Next::Late => break,
        }
    }
    talk
}

/// F4, F10, F1: pings are answered, also inside a message; a Close is; no frame of the server is masked.
async fn manners(audit: &Audit) {
    let whole = frames::write(PING, true, FENCE);
    let mut inside = frames::write(TEXT, false, b"a");
    inside.extend(frames::write(PING, true, FENCE));
    for (case, octets) in [("a ping", whole), ("a ping between fragments", inside)] {
        ping(audit, case, &octets).await;
    }
}

async fn ping(audit: &Audit, case: &str, octets: &[u8]) {
    let evidence = |got: &str, expected: &str| Evidence {
        case: case.to_owned(),
        gist: case.to_owned(),
        sent: super::audit::shown(octets),
        got: got.to_owned(),
        expected: expected.to_owned(),
    };
    let mut pinged = Talk::default();
    let mut closed = Talk::default();
    for slower in [1, 2] {
        let mut socket = match audit.prober.open().await {
            Ok(socket) => socket,
            Err(why) => return audit.unclear("F4.no-pong", case, why),
        };
        let patience = audit.prober.patience * slower;
        let until = Instant::now() + patience;
        socket.line.send(octets, until).await;
        pinged = listen(&mut socket, until, |talk| {
            talk.has_pong(FENCE) || talk.has_close()
        })
        .await;
        let until = Instant::now() + patience;
        socket
            .line
            .send(&frames::write(CLOSE, true, &1000u16.to_be_bytes()), until)
            .await;
        closed = listen(&mut socket, until, Talk::has_close).await;
        if pinged.has_pong(FENCE) && closed.has_close() {
            break;
        }
    }
    let masked = pinged
        .frames
        .iter()
        .chain(&closed.frames)
        .any(|heard| heard.masked);
    match masked {
        true => audit.find(
            "F1.masked-answer",
            evidence("a masked frame", "unmasked frames"),
        ),
        false => audit.pass(),
    }
    let answered = pinged.has_pong(FENCE);
    match answered {
        true => audit.pass(),
        // It has closed instead, or nothing at all came: that tells nothing of pings.
        false if pinged.has_close() || pinged.has_ended || !closed.has_close() => {
            audit.unclear(
                "F4.no-pong",
                case,
                "the connection ended, or nothing came at all",
            );
        }
        false => audit.find(
            "F4.no-pong",
            evidence(
                "no Pong, but a Close when asked for one",
                "a Pong of the same payload",
            ),
        ),
    }
    match (closed.has_close(), answered) {
        (true, _) => audit.pass(),
        (false, true) => audit.find("F10.no-close-answer", evidence("no Close", "a Close")),
        (false, false) => audit.unclear("F10.no-close-answer", case, "nothing was answered"),
    }
}

/// F11: a Close, and something after it that must not be served any more.
async fn after_close(audit: &Audit, case: &str, octets: &[u8]) {
    let mut talk = Talk::default();
    for slower in [1, 2] {
        let mut socket = match audit.prober.open().await {
            Ok(socket) => socket,
            Err(why) => return audit.unclear("F11.after-close", case, why),
        };
        let until = Instant::now() + audit.prober.patience * slower;
        socket.line.send(octets, until).await;
        talk = listen(&mut socket, until, |_| false).await;
        if talk.has_close() {
            break;
        }
    }
    let close = talk.frames.iter().position(|heard| heard.opcode == CLOSE);
    let late =
        |heard: &&Heard| matches!(heard.opcode, CONT | TEXT | PONG) && heard.payload == b"late";
    let served = talk.frames.iter().find(late);
    match (close, served) {
        (_, Some(heard)) => audit.find(
            "F11.after-close",
            Evidence {
                case: case.to_owned(),
                gist: super::audit::shown(octets),
                sent: super::audit::shown(octets),
                got: format!(
                    "a frame of opcode {} with what came after the Close",
                    heard.opcode
                ),
                expected: "a Close, and nothing more".into(),
            },
        ),
        (Some(_), None) => audit.pass(),
        (None, None) => audit.unclear("F11.after-close", case, "no Close came"),
    }
}
