//! What a row expects, and whether what was seen is that; it knows nothing of who was asked.

use crate::bytes::{Names, Reader};
use crate::run::Seen;
use crate::wire::{self, Frame};
use tidegate_proto::{Role, Side};

/// One thing that must come of a row, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// `text …`, `binary …`: this message is delivered.
    Message {
        /// Text or binary.
        text: bool,
        /// The whole payload.
        payload: Vec<u8>,
    },
    /// `pong …`, `ping …`, `sends [close …]`: this frame is sent.
    Sends(Frame),
    /// `pongs`: any number of pongs.
    Pongs,
    /// How it ends.
    Ends(Ending),
    /// `waiting`: a frame or message is not complete; more is awaited.
    Waiting,
    /// `101 chat`, `403`, …: the HTTP answer's status, and the subprotocol of a 101.
    Answer(u16, Option<String>),
    /// `has "…"`: the HTTP answer has this line.
    Has(String),
    /// `lacks "…"`: no line of the HTTP answer begins so.
    Lacks(String),
    /// `compressed 1`: of the frames sent so many are compressed.
    Compressed(usize),
    /// `plain`: an ordinary HTTP request, none of ours.
    Plain,
    /// `incomplete`: the head goes on.
    Incomplete,
    /// `accepted chat`: the client's handshake has succeeded.
    Accepted(Option<String>),
    /// `refused 401`: the server said no.
    Refused(u16),
    /// `error AcceptWrong`: the server's answer breaks a rule.
    Error(String),
}

/// The end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// `close 1000 "bye"`: the peer's Close, which we answer with its code.
    Peer(Option<u16>, String),
    /// `fail 1002`: the peer erred and is told this code, at this octet where that is given. `quiet`: a
    /// Close was sent before, so nothing more is said.
    Fail {
        /// The close code.
        code: u16,
        /// `@7`: seven octets are enough to know.
        at: Option<usize>,
        /// No Close frame goes out.
        quiet: bool,
    },
    /// `done 1000`: the peer has answered our Close.
    Done(u16),
    /// `lost`: the transport ended without a Close.
    Lost,
    /// `given up`: a deadline has passed.
    GivenUp,
}

/// Words that begin something; octets before them belong to what came before.
const WORDS: [&str; 22] = [
    "lacks",
    "compressed",
    "text",
    "binary",
    "pong",
    "ping",
    "sends",
    "pongs",
    "close",
    "fail",
    "quiet",
    "done",
    "lost",
    "given-up",
    "waiting",
    "has",
    "plain",
    "incomplete",
    "accepted",
    "refused",
    "error",
    "nothing",
];

/// Reads the right-hand side of a row.
pub(crate) fn parse(text: &str, names: &Names) -> Result<Vec<Expect>, String> {
    // Frames are compared unmasked, so they are spelled as what a client receives.
    let mut reader = Reader::new(text, names, Role::Client);
    let mut expected = Vec::new();
    while !reader.at_end() {
        let word = reader.word();
        expected.extend(one(word, &mut reader)?);
    }
    Ok(expected)
}

fn one(word: &str, reader: &mut Reader<'_>) -> Result<Option<Expect>, String> {
    Ok(Some(match word {
        "text" | "binary" => Expect::Message {
            text: word == "text",
            payload: reader.bytes_before(&WORDS)?,
        },
        "pong" => Expect::Sends(Frame::new(wire::PONG, reader.bytes_before(&WORDS)?)),
        "ping" => Expect::Sends(Frame::new(wire::PING, reader.bytes_before(&WORDS)?)),
        "sends" => {
            let frames = wire::read_frames(&reader.bytes_before(&WORDS)?, false)?;
            let [frame] = &frames[..] else {
                return Err("sends wants one frame".into());
            };
            Expect::Sends(frame.clone())
        }
        "pongs" => Expect::Pongs,
        "close" => {
            let code = reader.number().map(|code| code as u16);
            Expect::Ends(Ending::Peer(code, reader.text()?.unwrap_or_default()))
        }
        "fail" => {
            let code = reader.number().ok_or("fail wants a code")? as u16;
            let at = match reader.take('@') {
                true => Some(reader.number().ok_or("@ wants a number")? as usize),
                false => None,
            };
            let quiet = reader.peek_word() == "quiet" && reader.word() == "quiet";
            Expect::Ends(Ending::Fail { code, at, quiet })
        }
        "done" => Expect::Ends(Ending::Done(
            reader.number().ok_or("done wants a code")? as u16
        )),
        "lost" => Expect::Ends(Ending::Lost),
        "given-up" => Expect::Ends(Ending::GivenUp),
        "waiting" => Expect::Waiting,
        "has" => Expect::Has(reader.text()?.ok_or("has wants a line")?),
        "lacks" => Expect::Lacks(reader.text()?.ok_or("lacks wants a line")?),
        "compressed" => {
            Expect::Compressed(reader.number().ok_or("compressed wants a number")? as usize)
        }
        "plain" => Expect::Plain,
        "incomplete" => Expect::Incomplete,
        "accepted" => Expect::Accepted(reader.text()?),
        "refused" => Expect::Refused(reader.number().ok_or("refused wants a status")? as u16),
        "error" => Expect::Error(reader.word().to_owned()),
        "nothing" => return Ok(None),
        status if status.len() == 3 && status.parse::<u16>().is_ok() => {
            let status = status.parse().expect("just seen to be a number");
            Expect::Answer(status, reader.text()?)
        }
        other => return Err(format!("{other:?} is nothing to expect")),
    }))
}

/// Compares what a connection did with what was expected; `echoed` when its messages came back as frames.
///
/// # Errors
/// A sentence that says what differs.
pub(crate) fn check(expected: &[Expect], seen: &Seen, echoed: bool) -> Result<(), String> {
    if !echoed {
        check_messages(expected, seen)?;
    }
    check_frames(expected, &seen.frames, echoed)?;
    check_compressed(expected, seen.compressed)?;
    check_ending(expected, seen)
}

fn check_messages(expected: &[Expect], seen: &Seen) -> Result<(), String> {
    let wanted: Vec<(bool, &[u8])> = expected
        .iter()
        .filter_map(|expect| match expect {
            Expect::Message { text, payload } => Some((*text, &payload[..])),
            _ => None,
        })
        .collect();
    let got: Vec<(bool, &[u8])> = seen.messages.iter().map(|(t, p)| (*t, &p[..])).collect();
    same("messages", &shown(&wanted), &shown(&got))?;
    (wanted == got)
        .then_some(())
        .ok_or("messages differ beyond their start".into())
}

/// Messages as they are shown: kind, length and start.
fn shown(messages: &[(bool, &[u8])]) -> Vec<String> {
    let show = |(text, payload): &(bool, &[u8])| {
        let kind = if *text { "text" } else { "binary" };
        let start = payload[..payload.len().min(40)].escape_ascii();
        format!("{kind} {} B \"{start}\"", payload.len())
    };
    messages.iter().map(show).collect()
}

pub(crate) fn check_compressed(expected: &[Expect], got: usize) -> Result<(), String> {
    expected.iter().try_for_each(|expect| match expect {
        Expect::Compressed(wanted) => same("how many frames are compressed", wanted, &got),
        _ => Ok(()),
    })
}

/// The frames sent, one after another.
pub(crate) fn check_frames(
    expected: &[Expect],
    frames: &[Frame],
    echoed: bool,
) -> Result<(), String> {
    let mut rest = frames.iter().peekable();
    for expect in expected {
        match expect {
            Expect::Message { text, payload } if echoed => {
                let opcode = if *text { wire::TEXT } else { wire::BINARY };
                next(&mut rest, &Frame::new(opcode, payload.clone()))?;
            }
            Expect::Sends(frame) => next(&mut rest, frame)?,
            Expect::Pongs => while rest.next_if(|frame| frame.opcode == wire::PONG).is_some() {},
            Expect::Ends(Ending::Peer(code, _)) => {
                let body = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
                next(&mut rest, &Frame::new(wire::CLOSE, body))?;
            }
            Expect::Ends(Ending::Fail { code, quiet, .. }) if !quiet => {
                let frame = rest.next().ok_or(format!("no Close {code} was sent"))?;
                same("the code sent", &Some(*code), &frame.close_code())?;
                let reason = frame.payload.get(2..).unwrap_or_default();
                std::str::from_utf8(reason).map_err(|_| "our own reason is no UTF-8")?;
            }
            _ => {}
        }
    }
    match rest.next() {
        Some(frame) => Err(format!("{frame:?} was sent, which nobody expects")),
        None => Ok(()),
    }
}

fn next<'f>(frames: &mut impl Iterator<Item = &'f Frame>, wanted: &Frame) -> Result<(), String> {
    match frames.next() {
        Some(frame) if frame == wanted => Ok(()),
        other => Err(format!("{wanted:?} was to be sent, not {other:?}")),
    }
}

fn check_ending(expected: &[Expect], seen: &Seen) -> Result<(), String> {
    let ending = ending(expected);
    let Some(closed) = seen.closed.first() else {
        return same("the end", &ending, &None);
    };
    same("how often the end was told", &1, &seen.closed.len())?;
    let code = closed.code.map(|code| code.get());
    let (by, clean) = (closed.by, closed.clean);
    let told = (code, by, clean, closed.cause.is_some());
    match ending {
        None => Err(format!("it ended, which nobody expects: {closed:?}")),
        Some(Ending::Peer(code, reason)) => {
            same("the end", &(*code, Side::Peer, true, false), &told)?;
            same("the reason", reason, &closed.reason)
        }
        Some(Ending::Fail { code, at, .. }) => {
            same("the end", &(Some(*code), Side::Peer, false, true), &told)?;
            match (at, seen.ended_at) {
                (Some(at), Some(seen)) => same("octets until it was known", at, &seen),
                _ => Ok(()),
            }
        }
        Some(Ending::Done(code)) => same("the end", &(Some(*code), Side::Us, true, false), &told),
        Some(Ending::Lost) => same("the end", &(false, false), &(clean, closed.cause.is_some())),
        Some(Ending::GivenUp) => same("the end", &(false, true), &(clean, closed.cause.is_some())),
    }
}

/// How a row ends, if it does.
pub(crate) fn ending(expected: &[Expect]) -> Option<&Ending> {
    expected.iter().find_map(|expect| match expect {
        Expect::Ends(ending) => Some(ending),
        _ => None,
    })
}

/// Says what differs.
pub(crate) fn same<T: PartialEq + std::fmt::Debug + ?Sized>(
    what: &str,
    wanted: &T,
    got: &T,
) -> Result<(), String> {
    if wanted == got {
        return Ok(());
    }
    Err(format!("{what}: expected {wanted:?}, got {got:?}"))
}
