//! From octets to frames to messages; knows nothing of sending or closing.
//!
//! A frame that lies whole in the input is unmasked in place and lent out from there. Only what is cut by
//! a read or sent in fragments is assembled in a buffer of its own.

use super::Role;
use super::message::Message;
use super::resources::Resources;
use crate::config::{FRAGMENT_OVERHEAD, Limits};
use crate::error::ProtocolError;
use crate::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode};
use crate::mask::{MaskKey, apply_mask};
use crate::utf8::Utf8Decoder;

/// What the receiver found next.
pub(super) enum Received<'a> {
    Message(Message<'a>),
    Control(Control),
}

/// A whole control frame, unmasked.
pub(super) struct Control {
    pub(super) opcode: OpCode,
    payload: [u8; MAX_CONTROL_PAYLOAD],
    len: u8,
}

impl Control {
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload[..usize::from(self.len)]
    }
}

/// The state between two reads; nothing but a few words while the peer is idle.
#[derive(Default)]
pub(super) struct Receiver {
    /// The first octets of a header that a read cut.
    header: [u8; MAX_HEADER],
    header_len: u8,
    control: Option<Box<PartialControl>>,
    message: Option<Box<Assembly>>,
    /// Octets of a data frame that nobody wants, still to come.
    skip: u64,
}

struct PartialControl {
    control: Control,
    mask: MaskKey,
    missing: u8,
}

/// A message that is not complete.
struct Assembly {
    octets: Vec<u8>,
    utf8: Option<Utf8Decoder>,
    fragments: u32,
    /// Payload and overhead charged against the message limit.
    charged: u64,
    frame: Option<Frame>,
}

/// The data frame whose payload is arriving.
struct Frame {
    fin: bool,
    mask: MaskKey,
    missing: u64,
}

impl Receiver {
    /// The next message or control frame in `input`, which is advanced past what was taken; `None` once
    /// the input is used up. With `discard`, data frames are passed over unread.
    pub(super) fn receive<'a>(
        &mut self,
        role: Role,
        limits: &Limits,
        discard: bool,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Received<'a>>, ProtocolError> {
        if discard {
            self.discard_open_frame(resources);
        }
        while !input.is_empty() {
            if self.skip > 0 {
                self.skip_payload(input);
            } else if self.control.is_some() {
                if let Some(control) = self.continue_control(input) {
                    return Ok(Some(Received::Control(control)));
                }
            } else if self.frame_is_open() {
                if let Some(message) = self.continue_message(input, resources)? {
                    return Ok(Some(Received::Message(message)));
                }
            } else {
                let Some(header) = self.header(input)? else {
                    return Ok(None);
                };
                let mask = judge_mask(role, &header)?;
                //= rfc6455#5.2  RSV1 must be 0 unless an extension gave it a meaning.
                if header.rsv1 {
                    return Err(ProtocolError::ReservedBits);
                }
                if header.opcode.is_control() {
                    if let Some(control) = self.begin_control(&header, mask, input) {
                        return Ok(Some(Received::Control(control)));
                    }
                } else if discard {
                    //= rfc6455#5.5.1  data may still arrive after our Close; read on, deliver nothing.
                    self.skip = header.len;
                } else if let Some(message) =
                    self.begin_data(&header, mask, limits, input, resources)?
                {
                    return Ok(Some(Received::Message(message)));
                }
            }
        }
        Ok(None)
    }

    /// Forgets an unfinished message; its buffer goes back.
    pub(super) fn abandon(&mut self, resources: &mut Resources) {
        self.control = None;
        if let Some(message) = self.message.take() {
            resources.recycle(message.octets);
        }
    }

    fn frame_is_open(&self) -> bool {
        self.message.as_ref().is_some_and(|m| m.frame.is_some())
    }

    /// What is missing of the open frame will be skipped, and its message forgotten.
    fn discard_open_frame(&mut self, resources: &mut Resources) {
        if let Some(message) = self.message.take() {
            self.skip = message.frame.map_or(0, |frame| frame.missing);
            resources.recycle(message.octets);
        }
    }

    fn skip_payload(&mut self, input: &mut &mut [u8]) {
        let n = clamp(self.skip, input.len());
        take(input, n);
        self.skip -= n as u64;
    }

    /// Reads a header, which may have begun in an earlier read.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<FrameHeader>, ProtocolError> {
        let kept = usize::from(self.header_len);
        if kept == 0 {
            if let Some((header, len)) = FrameHeader::parse(input)? {
                take(input, len);
                return Ok(Some(header));
            }
        }
        let fresh = input.len().min(MAX_HEADER - kept);
        self.header[kept..kept + fresh].copy_from_slice(&input[..fresh]);
        match FrameHeader::parse(&self.header[..kept + fresh])? {
            Some((header, len)) => {
                take(input, len - kept);
                self.header_len = 0;
                Ok(Some(header))
            }
            None => {
                take(input, fresh);
                self.header_len = (kept + fresh) as u8;
                Ok(None)
            }
        }
    }

    fn begin_control(
        &mut self,
        header: &FrameHeader,
        mask: MaskKey,
        input: &mut &mut [u8],
    ) -> Option<Control> {
        let control = Control {
            opcode: header.opcode,
            payload: [0; MAX_CONTROL_PAYLOAD],
            len: header.len as u8,
        };
        let mut partial = PartialControl {
            missing: control.len,
            control,
            mask,
        };
        if partial.fill(input) {
            return Some(partial.control);
        }
        self.control = Some(Box::new(partial));
        None
    }

    fn continue_control(&mut self, input: &mut &mut [u8]) -> Option<Control> {
        let mut partial = self.control.take()?;
        if partial.fill(input) {
            return Some(partial.control);
        }
        self.control = Some(partial);
        None
    }

    /// A data frame begins: deliver it from where it lies, or start or continue an assembly.
    fn begin_data<'a>(
        &mut self,
        header: &FrameHeader,
        mask: MaskKey,
        limits: &Limits,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Message<'a>>, ProtocolError> {
        match (&self.message, header.opcode) {
            //= rfc6455#5.4  a continuation needs a message to continue; a new message must wait for its end.
            (None, OpCode::Continuation) => return Err(ProtocolError::OrphanContinuation),
            (Some(_), OpCode::Text | OpCode::Binary) => {
                return Err(ProtocolError::InterleavedMessage);
            }
            _ => {}
        }
        if self.message.is_none() {
            if header.len > limits.max_message_size as u64 {
                return Err(ProtocolError::MessageTooBig);
            }
            if header.fin && header.len <= input.len() as u64 {
                let payload = take(input, header.len as usize);
                return whole_message(header.opcode, mask, payload).map(Some);
            }
        }
        let message = self.message.get_or_insert_with(|| {
            Box::new(Assembly {
                octets: Vec::new(),
                utf8: (header.opcode == OpCode::Text).then(Utf8Decoder::default),
                fragments: 0,
                charged: 0,
                frame: None,
            })
        });
        message.charge(header, limits)?;
        message.frame = Some(Frame {
            fin: header.fin,
            mask,
            missing: header.len,
        });
        // An empty frame ends here; others when their last octet comes.
        self.continue_message(input, resources)
    }

    /// Takes what has come of the open frame; the message, when this was its last octet.
    fn continue_message<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Message<'a>>, ProtocolError> {
        let message = self.message.as_mut().expect("a frame is open");
        if !message.take_payload(input, resources)? {
            return Ok(None);
        }
        let message = self.message.take().expect("a frame is open");
        if let Some(utf8) = message.utf8 {
            utf8.finish()?;
            return Ok(Some(Message::AssembledText(message.octets)));
        }
        Ok(Some(Message::AssembledBinary(message.octets)))
    }
}

impl PartialControl {
    /// Takes what has come; true when the frame is complete and unmasked.
    fn fill(&mut self, input: &mut &mut [u8]) -> bool {
        let have = usize::from(self.control.len - self.missing);
        let n = usize::from(self.missing).min(input.len());
        self.control.payload[have..have + n].copy_from_slice(take(input, n));
        self.missing -= n as u8;
        if self.missing == 0 {
            let len = usize::from(self.control.len);
            apply_mask(self.mask, &mut self.control.payload[..len]);
        }
        self.missing == 0
    }
}

impl Assembly {
    /// Judges the frame by its header alone, before any memory is spent on it.
    fn charge(&mut self, header: &FrameHeader, limits: &Limits) -> Result<(), ProtocolError> {
        self.fragments += 1;
        if self.fragments > limits.max_fragments {
            return Err(ProtocolError::TooManyFragments);
        }
        // A message in one frame, cut only by reads, is no fragment and pays no overhead.
        let overhead = if header.fin && self.fragments == 1 {
            0
        } else {
            FRAGMENT_OVERHEAD as u64
        };
        self.charged = self.charged.saturating_add(header.len + overhead);
        if self.charged > limits.max_message_size as u64 {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(())
    }

    /// Takes what has come of the open frame; true when it completes the message.
    fn take_payload(
        &mut self,
        input: &mut &mut [u8],
        resources: &mut Resources,
    ) -> Result<bool, ProtocolError> {
        let frame = self.frame.as_mut().expect("a frame is open");
        let n = clamp(frame.missing, input.len());
        if n > 0 {
            if self.octets.capacity() == 0 {
                self.octets = resources.take_buffer(frame.missing as usize);
            }
            let start = self.octets.len();
            self.octets.extend_from_slice(take(input, n));
            frame.mask = apply_mask(frame.mask, &mut self.octets[start..]);
            frame.missing -= n as u64;
            if let Some(utf8) = &mut self.utf8 {
                utf8.feed(&self.octets[start..])?;
            }
        }
        if frame.missing > 0 {
            return Ok(false);
        }
        let fin = frame.fin;
        self.frame = None;
        Ok(fin)
    }
}

/// The frame's key. An unmasked frame gets the key of zeros, which changes nothing.
fn judge_mask(role: Role, header: &FrameHeader) -> Result<MaskKey, ProtocolError> {
    match (role, header.mask) {
        //= rfc6455#5.1  a server must close on an unmasked frame, a client on a masked one.
        (Role::Server, None) => Err(ProtocolError::Unmasked),
        (Role::Client, Some(_)) => Err(ProtocolError::Masked),
        (_, mask) => Ok(mask.unwrap_or_default()),
    }
}

/// A message that lies whole in the input: unmasked in place, validated once, lent out.
fn whole_message(
    opcode: OpCode,
    mask: MaskKey,
    payload: &mut [u8],
) -> Result<Message<'_>, ProtocolError> {
    apply_mask(mask, payload);
    if opcode == OpCode::Text {
        let text =
            simdutf8::basic::from_utf8(payload).map_err(|_| ProtocolError::TextNotUtf8)?;
        return Ok(Message::Text(text));
    }
    Ok(Message::Binary(payload))
}

/// Cuts the first `n` octets off `input`.
fn take<'a>(input: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let (taken, rest) = std::mem::take(input).split_at_mut(n);
    *input = rest;
    taken
}

fn clamp(missing: u64, available: usize) -> usize {
    usize::try_from(missing).unwrap_or(usize::MAX).min(available)
}
