//! Centrifuge's client protocol in JSON: one command or reply a line. Payloads are strings behind a mark, so that most
//! messages need not be parsed to be understood.

use super::{Frame, Heard};
use serde_json::Value;

/// A client.
pub(crate) struct Json {
    channel: Value,
    commands: u64,
}

impl Json {
    pub(super) fn new(channel: String) -> Json {
        Json {
            channel: channel.into(),
            commands: 2,
        }
    }

    pub(super) fn hello(&self) -> Frame {
        let channel = &self.channel;
        Frame::Text(format!(
            "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":{channel}}}}}"
        ))
    }

    pub(super) fn publish(&mut self, payload: &str) -> Frame {
        self.commands += 1;
        let (id, channel) = (self.commands, &self.channel);
        Frame::Text(format!(
            "{{\"id\":{id},\"publish\":{{\"channel\":{channel},\"data\":\"tg:{payload}\"}}}}"
        ))
    }
}

pub(super) fn hear(message: &[u8], mut each: impl FnMut(Heard<'_>)) {
    let lines = message.split(|byte| *byte == b'\n');
    lines.filter_map(line).for_each(&mut each);
}

fn line(line: &[u8]) -> Option<Heard<'_>> {
    if line == b"{}" {
        return Some(Heard::Answer(Frame::Text("{}".into())));
    }
    if let Some(at) = line.windows(MARK.len()).position(|window| window == MARK) {
        let rest = &line[at + MARK.len()..];
        let end = rest.iter().position(|byte| *byte == b'"')?;
        return Some(Heard::Payload(&rest[..end]));
    }
    let reply: Value = serde_json::from_slice(line).ok()?;
    if let Some(error) = reply.get("error") {
        return Some(Heard::Refused(error.to_string()));
    }
    reply.get("subscribe").map(|_| Heard::Ready)
}

/// Begins the data of each publication of ours.
const MARK: &[u8] = b"\"tg:";

#[cfg(test)]
mod tests {
    use super::super::{Dialect, heard};
    use super::*;

    fn dialect() -> Dialect {
        Dialect::CentrifugeJson(Json::new("a \"b\"".into()))
    }

    #[test]
    fn replies_are_told_apart() {
        let message = b"{\"id\":1,\"connect\":{\"client\":\"x\"}}\n{\"id\":2,\"subscribe\":{}}\n{}\n\
            {\"push\":{\"channel\":\"a\",\"pub\":{\"data\":\"tg:payload\",\"offset\":1}}}\n{\"id\":3,\"publish\":{}}\n\
            {\"id\":4,\"error\":{\"code\":103}}\nnonsense";
        assert_eq!(
            heard(&mut dialect(), message),
            [
                "Ready",
                "Answer(Text(\"{}\"))",
                "payload",
                "Refused(\"{\\\"code\\\":103}\")"
            ]
        );
    }

    #[test]
    fn a_publication_is_json_and_heard_again() {
        let mut dialect = dialect();
        let Frame::Text(command) = dialect.publish("x:1;") else {
            panic!("text")
        };
        let value: Value = serde_json::from_str(&command).unwrap();
        assert_eq!(value["publish"]["channel"], "a \"b\"");
        assert_eq!(value["id"], 3);
        assert_eq!(heard(&mut dialect, command.as_bytes()), ["x:1;"]);
    }
}
