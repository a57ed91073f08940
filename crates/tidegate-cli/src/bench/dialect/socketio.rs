//! Socket.IO 5 on Engine.IO 4, WebSocket only: the server speaks first. An event goes to all only if the server's program
//! sends it to all, under the same name.

use super::{Frame, Heard};
use serde_json::Value;

/// A client.
pub(crate) struct SocketIo {
    event: Value,
}

impl SocketIo {
    pub(super) fn new(event: String) -> SocketIo {
        SocketIo {
            event: event.into(),
        }
    }

    pub(super) fn publish(&self, payload: &str) -> Frame {
        Frame::Text(format!("42[{},\"{payload}\"]", self.event))
    }
}

pub(super) fn hear(message: &[u8]) -> Option<Heard<'_>> {
    let answer = |text: &str| Some(Heard::Answer(Frame::Text(text.into())));
    match message {
        // An event: its name, and one string.
        [b'4', b'2', rest @ ..] => {
            let at = rest.windows(3).position(|window| window == b"\",\"")?;
            rest[at + 3..].strip_suffix(b"\"]").map(Heard::Payload)
        }
        [b'0', ..] => answer("40"),
        [b'2', ..] => answer("3"),
        [b'4', b'0', ..] => Some(Heard::Ready),
        [b'4', b'4', rest @ ..] => Some(Heard::Refused(String::from_utf8_lossy(rest).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, heard};
    use super::*;

    #[test]
    fn packets_are_told_apart() {
        let mut dialect = Dialect::SocketIo(SocketIo::new("broadcast".into()));
        let Frame::Text(event) = dialect.publish("x:1;") else {
            panic!("text")
        };
        assert_eq!(event, "42[\"broadcast\",\"x:1;\"]");
        let rows = [
            (&event[..], "x:1;"),
            ("0{\"sid\":\"a\"}", "Answer(Text(\"40\"))"),
            ("40{\"sid\":\"b\"}", "Ready"),
            ("2", "Answer(Text(\"3\"))"),
            (
                "44{\"message\":\"no\"}",
                "Refused(\"{\\\"message\\\":\\\"no\\\"}\")",
            ),
        ];
        for (message, expected) in rows {
            assert_eq!(
                heard(&mut dialect, message.as_bytes()),
                [expected],
                "{message}"
            );
        }
        assert!(heard(&mut dialect, b"42[\"other\",1]").is_empty());
        assert!(heard(&mut dialect, b"6").is_empty());
    }
}
