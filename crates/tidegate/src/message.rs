//! A whole message as a program holds it: text or octets, owned; control frames are no messages.

use bytes::Bytes;
use std::fmt;
use std::ops::Deref;

/// One WebSocket message (RFC 6455 §5.6). Pings, pongs and Close are handled by the connection.
///
/// ```
/// use tidegate::Message;
///
/// assert_eq!(Message::from("hello").as_text(), Some("hello"));
/// assert_eq!(Message::from(vec![1, 2]).as_bytes(), [1, 2]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// UTF-8 text.
    Text(Text),
    /// Octets.
    Binary(Bytes),
}

impl Message {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_str().as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is some.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text.as_str()),
            Message::Binary(_) => None,
        }
    }

    /// It is text.
    pub fn is_text(&self) -> bool {
        matches!(self, Message::Text(_))
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// It has no payload; such a message is legal and is delivered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Text(text) => Bytes::from(text.into_string()),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Owns what the connection lent.
    #[inline]
    pub(crate) fn own(message: tidegate_proto::Message<'_>) -> Message {
        use tidegate_proto::Message as Lent;
        match message {
            Lent::Text(text) => Message::from(text),
            Lent::Binary(bytes) => Message::from(bytes),
            Lent::AssembledText(octets) => {
                let text = String::from_utf8(octets);
                Message::from(text.expect("assembled text was validated as it arrived"))
            }
            Lent::AssembledBinary(octets) => Message::from(octets),
        }
    }
}

impl fmt::Debug for Message {
    /// Kind and length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_text() { "Text" } else { "Binary" };
        write!(f, "{kind}({} B)", self.len())
    }
}

/// Text of a message. It can only be made from checked UTF-8, so it never holds anything else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(String);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, without a copy.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    /// Length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} B)", self.0.len())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.to_owned())
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Message {
        Message::Text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(Text(text))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(Text::from(text))
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Message {
        Message::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::Binary(Bytes::from(bytes))
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Message {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_knows_its_kind_and_keeps_its_payload() {
        let text = Message::from("héllo");
        assert_eq!(
            (text.as_text(), text.len(), text.is_text()),
            (Some("héllo"), 6, true)
        );
        assert_eq!(text.into_bytes(), "héllo".as_bytes());
        let binary = Message::from(&[0xff, 0xfe][..]);
        assert_eq!((binary.as_text(), binary.is_empty()), (None, false));
    }

    #[test]
    fn no_payload_is_shown_by_debug() {
        assert_eq!(format!("{:?}", Message::from("secret")), "Text(6 B)");
        assert_eq!(format!("{:?}", Text::from("secret")), "Text(6 B)");
    }
}
