//! What happened, on stdout: messages for people or for programs, or one JSON object for each event. It decides no
//! wording of errors.

use super::args::BinaryForm;
use super::console::{Console, Tone};
use super::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::{Closed, Message};
use tidegate_proto::{ProtocolError, Side};
use tokio::io::{AsyncWriteExt, BufWriter, Stdout};

/// Where messages go, and how they look there.
pub(crate) struct Output {
    form: Form,
    stdout: BufWriter<Stdout>,
    console: Console,
    /// Notices are wanted.
    verbose: bool,
}

/// How messages look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Above the prompt.
    Prompt(BinaryForm),
    /// On stdout, a terminal: nothing of the server's may act on it.
    Screen(BinaryForm),
    /// On stdout, for programs: as they came.
    Stream(BinaryForm),
    /// One JSON object for each event.
    Json,
}

impl Output {
    /// `verbose`: how the connection came and went is said, too.
    pub(crate) fn new(form: Form, console: Console, verbose: bool) -> Output {
        Output {
            form,
            stdout: BufWriter::with_capacity(BUFFER, tokio::io::stdout()),
            console,
            verbose,
        }
    }

    /// Lines for the person.
    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// A message came. It is on its way once [`Output::flush`] is.
    pub(crate) async fn message(&mut self, message: &Message) -> io::Result<()> {
        match self.form {
            Form::Prompt(binary) => {
                let text = shown(message, binary);
                self.console.tell(Tone::Received, &format!("< {text}"));
                Ok(())
            }
            Form::Screen(binary) => {
                let line = format!("{}\n", shown(message, binary));
                self.stdout.write_all(line.as_bytes()).await
            }
            Form::Stream(binary) => self.stream(message, binary).await,
            Form::Json => {
                let event = match message {
                    Message::Text(text) => json!({ "type": "text", "text": text.as_str() }),
                    Message::Binary(octets) => {
                        json!({ "type": "binary", "base64": STANDARD.encode(octets) })
                    }
                };
                self.event("message", event).await
            }
        }
    }

    async fn stream(&mut self, message: &Message, binary: BinaryForm) -> io::Result<()> {
        match (message, binary) {
            (Message::Binary(octets), BinaryForm::Raw) => self.stdout.write_all(octets).await,
            (Message::Binary(octets), form) => {
                let line = format!("{}\n", octets_as(octets, form));
                self.stdout.write_all(line.as_bytes()).await
            }
            (Message::Text(text), _) => {
                self.stdout.write_all(text.as_bytes()).await?;
                self.stdout.write_all(b"\n").await
            }
        }
    }

    /// The connection is open. `what` says of which kind it is, for people; `facts` for programs.
    pub(crate) async fn open(&mut self, what: &str, facts: Value) -> io::Result<()> {
        self.notice(what);
        self.report("open", facts).await
    }

    /// Our ping was answered.
    pub(crate) async fn pong(&mut self, rtt: Duration) -> io::Result<()> {
        let millis = rtt.as_secs_f64() * 1e3;
        if self.form != Form::Json {
            self.console
                .tell(Tone::Notice, &format!("pong after {millis:.1} ms"));
        }
        self.report("pong", json!({ "rtt_ms": millis })).await
    }

    /// The connection is over.
    pub(crate) async fn closed(&mut self, closed: &Closed) -> io::Result<()> {
        self.notice(&format!("closed: {}", in_words(closed)));
        let by = match closed.by {
            Side::Us => "us",
            Side::Peer => "peer",
            Side::Transport => "transport",
        };
        let facts = json!({
            "code": closed.code.map(|code| code.get()),
            "reason": closed.reason,
            "by": by,
            "clean": closed.clean,
        });
        self.report("close", facts).await?;
        self.flush().await
    }

    /// Another attempt follows after a wait.
    pub(crate) async fn retry(&mut self, why: &str, wait: Duration) -> io::Result<()> {
        let seconds = wait.as_secs_f64();
        self.console.tell(
            Tone::Warning,
            &format!("{why}; trying again in {seconds:.1} s"),
        );
        let facts = json!({ "why": why, "after_ms": wait.as_millis() as u64 });
        self.report("retry", facts).await?;
        self.flush().await
    }

    /// Says how it goes, to who wants to know.
    pub(crate) fn notice(&self, text: &str) {
        if self.verbose && self.form != Form::Json {
            self.console.tell(Tone::Notice, text);
        }
    }

    /// Hands all to the system.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush().await
    }

    /// An event that only programs are told.
    async fn report(&mut self, name: &str, facts: Value) -> io::Result<()> {
        match self.form {
            Form::Json => self.event(name, facts).await,
            _ => Ok(()),
        }
    }

    async fn event(&mut self, name: &str, facts: Value) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut event = json!({
            "schema": 1,
            "event": name,
            "time_ms": now.map_or(0, |now| now.as_millis() as u64),
        });
        if let (Value::Object(event), Value::Object(facts)) = (&mut event, facts) {
            event.extend(facts);
        }
        self.stdout.write_all(format!("{event}\n").as_bytes()).await
    }
}

/// A message for a person.
fn shown(message: &Message, form: BinaryForm) -> String {
    match message {
        Message::Text(text) => hex::harmless(text),
        Message::Binary(octets) => {
            let size = match octets.len() {
                1 => "1 byte".to_owned(),
                n => format!("{n} bytes"),
            };
            match form {
                BinaryForm::Hex if octets.is_empty() => size,
                BinaryForm::Hex => format!("{size}\n{}", octets_as(octets, form)),
                BinaryForm::Base64 => octets_as(octets, form),
                BinaryForm::Raw => hex::harmless(&String::from_utf8_lossy(octets)),
            }
        }
    }
}

fn octets_as(octets: &[u8], form: BinaryForm) -> String {
    match form {
        BinaryForm::Base64 => STANDARD.encode(octets),
        BinaryForm::Hex | BinaryForm::Raw => hex::dump(octets),
    }
}

/// How a connection ended, for people.
pub(crate) fn in_words(closed: &Closed) -> String {
    // It was the server's doing, but the Close was ours.
    if let (Some(cause), Side::Peer, Some(code)) = (&closed.cause, closed.by, closed.code) {
        let way_out = match cause {
            ProtocolError::MessageTooBig => " (--max-message takes longer ones)",
            _ => "",
        };
        return format!("{cause}, so we closed with {}{way_out}", code.get());
    }
    let who = match closed.by {
        Side::Us => "by us",
        Side::Peer => "by the server",
        Side::Transport => "the connection broke",
    };
    let mut words = match closed.code {
        Some(code) => format!("{} {who}", code.get()),
        None if closed.clean => format!("{who}, without a code"),
        None => who.to_owned(),
    };
    match &closed.cause {
        // Then the reason is ours, and says the same.
        Some(cause) => words = format!("{cause}, {words}"),
        None if closed.reason.is_empty() => {}
        None => words.push_str(&format!(" ({})", hex::harmless(&closed.reason))),
    }
    words
}

/// Octets kept back at most while more messages are at hand.
const BUFFER: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_messages_that_cannot_act() {
        let rows = [
            (Message::from("a\x1b[2J"), "a\\u{1b}[2J"),
            (
                Message::from(vec![0]),
                "1 byte\n  00000000  00                                                |.|",
            ),
            (Message::from(vec![]), "0 bytes"),
        ];
        for (message, expected) in rows {
            assert_eq!(shown(&message, BinaryForm::Hex), expected);
        }
        assert_eq!(shown(&Message::from(vec![255]), BinaryForm::Base64), "/w==");
    }

    #[test]
    fn an_end_is_told_in_words() {
        let mut closed = Closed {
            code: tidegate::CloseCode::new(4000),
            reason: "bye\x07".into(),
            by: Side::Peer,
            clean: true,
            cause: None,
        };
        assert_eq!(in_words(&closed), "4000 by the server (bye\\u{7})");
        closed.code = Some(tidegate::CloseCode::TOO_BIG);
        closed.cause = Some(ProtocolError::MessageTooBig);
        let words = in_words(&closed);
        assert!(
            words.contains("so we closed with 1009 (--max-message"),
            "{words}"
        );
        (closed.code, closed.cause) = (None, None);
        closed.by = Side::Transport;
        closed.clean = false;
        closed.reason.clear();
        assert_eq!(in_words(&closed), "the connection broke");
    }
}
