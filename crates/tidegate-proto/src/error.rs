//! What a peer can do wrong on an open connection, and which close code answers it.

use crate::close::CloseCode;
use crate::frame::OpCode;
use std::fmt;

/// The peer broke RFC 6455 or a limit of ours. The connection has been failed (§7.1.7): a Close frame
/// with [`ProtocolError::close_code`] was queued and nothing more of that peer is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit was set though no extension defines it (§5.2).
    ReservedBits,
    /// The opcode is reserved (§5.2).
    ReservedOpCode {
        /// The four bits as received.
        code: u8,
    },
    /// A control frame came in pieces (§5.5).
    FragmentedControl {
        /// Which one.
        opcode: OpCode,
    },
    /// A control frame announced more than 125 bytes (§5.5).
    ControlTooLong {
        /// Which one.
        opcode: OpCode,
    },
    /// A client sent a frame without a mask (§5.1).
    Unmasked,
    /// A server sent a masked frame (§5.1).
    Masked,
    /// A length was not in its shortest form (§5.2).
    LengthNotMinimal,
    /// The top bit of a 64-bit length was set (§5.2).
    LengthTooLarge,
    /// A continuation came though no message was begun (§5.4).
    OrphanContinuation,
    /// A new message began inside another (§5.4).
    InterleavedMessage,
    /// A text message is not UTF-8 (§8.1).
    TextNotUtf8,
    /// A Close frame with a body of one byte (§5.5.1).
    CloseBodyOfOneByte,
    /// A close code that may not be on the wire (§7.4).
    BadCloseCode {
        /// The number as received.
        code: u16,
    },
    /// A close reason is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
    /// The message is longer than [`crate::Limits::max_message_size`], or a frame than
    /// [`crate::Limits::max_frame_size`].
    MessageTooBig,
    /// A compressed message is no deflate stream, or stops in the middle of one (RFC 7692 §7.2.2).
    DeflateCorrupt,
    /// A compressed message inflates to more than [`crate::DeflateConfig::max_ratio`] times its length.
    InflatesTooMuch,
    /// The message has more fragments than [`crate::Limits::max_fragments`].
    TooManyFragments,
    /// More of its fragments are empty than [`crate::Limits::max_empty_fragments`].
    TooManyEmptyFragments,
    /// The message took longer than [`crate::Timeouts::message`].
    MessageTooSlow,
    /// More control frames than the budget of [`crate::Limits`] allows.
    ControlFlood,
    /// No byte came within the pong deadline.
    Unresponsive,
    /// The peer did not answer our Close in time.
    CloseTimeout,
    /// The peer took its messages too slowly and its outbox was full.
    SlowConsumer,
}

impl ProtocolError {
    /// The close code that tells the peer (§7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::TextNotUtf8
            | ProtocolError::CloseReasonNotUtf8
            | ProtocolError::DeflateCorrupt => CloseCode::INVALID_PAYLOAD,
            ProtocolError::MessageTooBig | ProtocolError::InflatesTooMuch => CloseCode::TOO_BIG,
            ProtocolError::TooManyFragments
            | ProtocolError::TooManyEmptyFragments
            | ProtocolError::MessageTooSlow
            | ProtocolError::ControlFlood => CloseCode::POLICY,
            ProtocolError::SlowConsumer => CloseCode::TRY_AGAIN,
            ProtocolError::Unresponsive | ProtocolError::CloseTimeout => CloseCode::GOING_AWAY,
            _ => CloseCode::PROTOCOL,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::ReservedBits => f.write_str("reserved bit set, no extension was agreed"),
            ProtocolError::ReservedOpCode { code } => write!(f, "reserved opcode {code:#x}"),
            ProtocolError::FragmentedControl { opcode } => write!(f, "{opcode} frame in pieces"),
            ProtocolError::ControlTooLong { opcode } => {
                write!(f, "{opcode} frame longer than 125 bytes")
            }
            ProtocolError::Unmasked => f.write_str("client frame without a mask"),
            ProtocolError::Masked => f.write_str("server frame with a mask"),
            ProtocolError::LengthNotMinimal => f.write_str("length not in its shortest form"),
            ProtocolError::LengthTooLarge => f.write_str("length beyond 2^63-1"),
            ProtocolError::OrphanContinuation => f.write_str("continuation without a message"),
            ProtocolError::InterleavedMessage => f.write_str("new message inside another"),
            ProtocolError::TextNotUtf8 => f.write_str("text is not UTF-8"),
            ProtocolError::CloseBodyOfOneByte => f.write_str("close body of one byte"),
            ProtocolError::BadCloseCode { code } => write!(f, "close code {code} is not allowed"),
            ProtocolError::CloseReasonNotUtf8 => f.write_str("close reason is not UTF-8"),
            ProtocolError::MessageTooBig => f.write_str("message too big"),
            ProtocolError::DeflateCorrupt => f.write_str("compressed message is corrupt"),
            ProtocolError::InflatesTooMuch => f.write_str("compressed message inflates too much"),
            ProtocolError::TooManyFragments => f.write_str("too many fragments"),
            ProtocolError::TooManyEmptyFragments => f.write_str("too many empty fragments"),
            ProtocolError::MessageTooSlow => f.write_str("message took too long"),
            ProtocolError::ControlFlood => f.write_str("too many control frames"),
            ProtocolError::Unresponsive => f.write_str("no sign of life"),
            ProtocolError::CloseTimeout => f.write_str("close was not answered"),
            ProtocolError::SlowConsumer => f.write_str("too slow to take its messages"),
        }
    }
}

impl std::error::Error for ProtocolError {}
