//! From octets to frames to messages; knows nothing of sending or closing.
//!
//! A frame that lies whole in the input is unmasked in place and lent out from there. Only what is cut by
//! a read, sent in fragments or compressed is assembled in a buffer of its own. Where streaming is on, a
//! long message is not assembled but handed out piece by piece.

use super::Role;
use super::compression::Compression;
use super::extras::{Extras, MessageKind, Streaming};
use super::gather::Gather;
use super::message::{Message, Piece, PieceOctets};
use super::resources::Resources;
use crate::config::{Config, FRAGMENT_OVERHEAD};
use crate::deflate::{Bounds, Inflating};
use crate::error::ProtocolError;
use crate::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode, UsualHeader};
use crate::mask::{MaskKey, apply_mask, unmask_ascii};
use crate::time::Time;
use crate::utf8::Utf8Decoder;

/// Longest piece of an inflated message.
const PIECE: usize = 16 << 10;
/// A stream may have one more fragment than [`crate::Limits::max_fragments`] for so many bytes.
const BYTES_PER_FRAGMENT: u64 = 64;

/// What the receiver found next.
pub(super) enum Received<'a> {
    Message(Message<'a>),
    Piece(Piece<'a>),
    Control(Control),
}

/// What holds for the connection that receives.
pub(super) struct Rules<'r> {
    role: Role,
    config: &'r Config,
    /// Data frames are passed over unread.
    discard: bool,
    compression: Option<&'r mut Compression>,
    streaming: Option<Streaming>,
}

impl<'r> Rules<'r> {
    pub(super) fn new(
        role: Role,
        config: &'r Config,
        discard: bool,
        streaming: Option<Streaming>,
        extras: Option<&'r mut Extras>,
    ) -> Rules<'r> {
        let (compression, set) = match extras {
            None => (None, None),
            Some(extras) => (extras.compression.as_mut(), extras.streaming),
        };
        let streaming = streaming.or(set);
        Rules {
            role,
            config,
            discard,
            compression,
            streaming,
        }
    }

    /// The longest message that is delivered whole.
    fn whole(&self) -> usize {
        longest_whole(self.config, self.streaming.as_ref())
    }

    /// The longest message.
    fn longest(&self) -> u64 {
        match &self.streaming {
            None => self.config.limits.max_message_size as u64,
            Some(streaming) => streaming.limit(),
        }
    }

    //= rfc7692#6.1  RSV1 says "compressed" on the first frame of a message; elsewhere it has no meaning.
    fn allows_rsv1(&self, opcode: OpCode) -> bool {
        self.compression.is_some() && matches!(opcode, OpCode::Text | OpCode::Binary)
    }
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
    octets: Gather,
    utf8: Option<Utf8Decoder>,
    fragments: u32,
    /// Of these, empty and not the last.
    empty: u32,
    /// When its beginning was seen.
    since: Option<Time>,
    /// Payload as it came on the wire, compressed or not, announced so far.
    announced: u64,
    frame: Option<Frame>,
    /// It is compressed.
    inflating: Option<Box<Inflating>>,
    /// It is handed out in pieces.
    streamed: bool,
    /// Its first piece was handed out.
    begun: bool,
}

/// The data frame whose payload is arriving.
struct Frame {
    fin: bool,
    mask: MaskKey,
    missing: u64,
    /// Of the octets at the front of the input: so many are unmasked, though not taken yet.
    unmasked: usize,
    /// And so many the inflater has had. At least one octet is kept back until all of the output has been
    /// fetched, so that the driver comes again.
    fed: usize,
}

impl Receiver {
    /// The next message or control frame in `input`, which is advanced past what was taken; `None` once
    /// the input is used up. With `discard`, data frames are passed over unread.
    pub(super) fn receive<'a>(
        &mut self,
        rules: &mut Rules<'_>,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Received<'a>>, ProtocolError> {
        if rules.discard {
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
                if let Some(received) = self.continue_message(rules, input, resources)? {
                    return Ok(Some(received));
                }
            } else {
                let Some(header) = self.header(input)? else {
                    return Ok(None);
                };
                let mask = judge_mask(rules.role, &header)?;
                //= rfc6455#5.2  RSV1 must be 0 unless an extension gave it a meaning.
                if header.rsv1 && !rules.allows_rsv1(header.opcode) {
                    return Err(ProtocolError::ReservedBits);
                }
                if header.opcode.is_control() {
                    if let Some(control) = self.begin_control(&header, mask, input) {
                        return Ok(Some(Received::Control(control)));
                    }
                } else if rules.discard {
                    //= rfc6455#5.5.1  data may still arrive after our Close; read on, deliver nothing.
                    self.skip = header.len;
                } else if let Some(received) =
                    self.begin_data(&header, mask, rules, input, resources)?
                {
                    return Ok(Some(received));
                }
            }
        }
        Ok(None)
    }

    /// Room behind a message that is being assembled as it comes, for `least` to `most` of its octets.
    pub(super) fn room(&mut self, least: usize, most: usize) -> Option<&mut [u8]> {
        let message = self.message.as_mut()?;
        if message.inflating.is_some() || message.streamed {
            return None;
        }
        let missing = message.frame.as_ref()?.missing;
        message.octets.room(least, clamp(missing, most))
    }

    /// `n` octets were read into the room: the message, when its last octet is among them.
    pub(super) fn filled(
        &mut self,
        n: usize,
        rules: &mut Rules<'_>,
        resources: &mut Resources,
    ) -> Result<Option<Received<'static>>, ProtocolError> {
        let Some(mut message) = self.message.take_if(|message| message.frame.is_some()) else {
            return Ok(None);
        };
        match message.take_filled(n)? {
            Progress::Complete => message.complete(rules, resources).map(Some),
            Progress::None | Progress::Piece => {
                self.message = Some(message);
                Ok(None)
            }
        }
    }

    /// Between two messages: a message in one frame that lies whole in the input; its payload is still masked.
    /// `None` takes nothing and judges nothing: the rest is [`Receiver::receive`]'s.
    #[inline]
    pub(super) fn whole_frame<'a>(
        &self,
        role: Role,
        longest: usize,
        input: &mut &'a mut [u8],
    ) -> Option<(OpCode, MaskKey, &'a mut [u8])> {
        if !self.is_between_messages() {
            return None;
        }
        let usual = UsualHeader::parse(input, role == Role::Server)?;
        let end = usual.header_len + usual.len;
        if usual.len > longest || end > input.len() {
            return None;
        }
        let payload = &mut take(input, end)[usual.header_len..];
        Some((usual.opcode, usual.mask, payload))
    }

    /// Nothing of a message or a frame has come.
    #[inline]
    fn is_between_messages(&self) -> bool {
        self.message.is_none() && self.control.is_none() && self.header_len == 0 && self.skip == 0
    }

    /// A read has ended: a message that is incomplete is late from now on.
    #[inline]
    pub(super) fn note_unfinished(&mut self, now: Time) {
        if let Some(message) = &mut self.message {
            message.since.get_or_insert(now);
        }
    }

    /// An incomplete message counts as begun now.
    pub(super) fn restart(&mut self, now: Time) {
        if let Some(message) = &mut self.message {
            message.since = Some(now);
        }
    }

    /// Since when a message is incomplete.
    #[inline]
    pub(super) fn unfinished_since(&self) -> Option<Time> {
        self.message.as_ref()?.since
    }

    /// Capacity of what it assembles in.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.message.as_ref().map_or(0, |m| m.octets.capacity())
    }

    /// Forgets an unfinished message; its buffer goes back.
    pub(super) fn abandon(&mut self, resources: &mut Resources) {
        self.control = None;
        if let Some(message) = self.message.take() {
            message.dismantle(resources);
        }
    }

    fn frame_is_open(&self) -> bool {
        self.message.as_ref().is_some_and(|m| m.frame.is_some())
    }

    /// What is missing of the open frame will be skipped, and its message forgotten.
    fn discard_open_frame(&mut self, resources: &mut Resources) {
        if let Some(message) = self.message.take() {
            self.skip = message.frame.as_ref().map_or(0, |frame| frame.missing);
            message.dismantle(resources);
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
        rules: &mut Rules<'_>,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Received<'a>>, ProtocolError> {
        match (&self.message, header.opcode) {
            //= rfc6455#5.4  a continuation needs a message to continue; a new message must wait for its end.
            (None, OpCode::Continuation) => return Err(ProtocolError::OrphanContinuation),
            (Some(_), OpCode::Text | OpCode::Binary) => {
                return Err(ProtocolError::InterleavedMessage);
            }
            _ => {}
        }
        if header.len > rules.config.limits.max_frame_size as u64 {
            return Err(ProtocolError::MessageTooBig);
        }
        if self.message.is_none() && !header.rsv1 {
            let is_whole = header.fin && header.len <= input.len() as u64;
            if is_whole && header.len <= rules.whole() as u64 {
                let payload = take(input, header.len as usize);
                let message = whole_message(header.opcode, mask, payload)?;
                return Ok(Some(Received::Message(message)));
            }
        }
        let message = self
            .message
            .get_or_insert_with(|| Box::new(Assembly::new(header, rules, resources)));
        message.charge(header, rules)?;
        message.frame = Some(Frame {
            fin: header.fin,
            mask,
            missing: header.len,
            unmasked: 0,
            fed: 0,
        });
        // An empty frame ends here; others when their last octet comes.
        self.continue_message(rules, input, resources)
    }

    /// Takes what has come of the open frame; the message, when this was its last octet, or its next piece.
    fn continue_message<'a>(
        &mut self,
        rules: &mut Rules<'_>,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Result<Option<Received<'a>>, ProtocolError> {
        let message = self.message.as_mut().expect("a frame is open");
        let progress = if message.inflating.is_some() {
            message.inflate(rules, input, resources)?
        } else if message.streamed {
            return self.continue_stream(input);
        } else {
            message.take_payload(input, resources)?
        };
        match progress {
            Progress::None => Ok(None),
            Progress::Piece => {
                let octets = PieceOctets::Owned(message.octets.take());
                Ok(Some(Received::Piece(message.piece(octets, false))))
            }
            Progress::Complete => {
                let message = self.message.take().expect("a frame is open");
                (*message).complete(rules, resources).map(Some)
            }
        }
    }

    /// Hands out what has come of a message in pieces that is not compressed.
    fn continue_stream<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Received<'a>>, ProtocolError> {
        let message = self.message.as_mut().expect("a frame is open");
        // What was assembled before the message proved to be long goes first.
        if message.octets.len() > 0 {
            let octets = PieceOctets::Owned(message.octets.take());
            return Ok(Some(Received::Piece(message.piece(octets, false))));
        }
        let frame = message.frame.as_mut().expect("a frame is open");
        let octets = take(input, clamp(frame.missing, input.len()));
        frame.mask = apply_mask(frame.mask, octets);
        frame.missing -= octets.len() as u64;
        if let Some(utf8) = &mut message.utf8 {
            utf8.feed(octets)?;
        }
        let mut last = false;
        if frame.missing == 0 {
            last = frame.fin;
            message.frame = None;
        }
        if octets.is_empty() && !last {
            return Ok(None);
        }
        let piece = message.piece(PieceOctets::Lent(octets), last);
        if last {
            message.utf8.unwrap_or_default().finish()?;
            self.message = None;
        }
        Ok(Some(Received::Piece(piece)))
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

/// What taking a payload has brought.
enum Progress {
    /// More octets are needed.
    None,
    /// What has been assembled is to be handed out.
    Piece,
    /// The message is complete.
    Complete,
}

impl Assembly {
    fn new(header: &FrameHeader, rules: &mut Rules<'_>, resources: &mut Resources) -> Assembly {
        let compression = rules.compression.as_mut().filter(|_| header.rsv1);
        Assembly {
            octets: Gather::default(),
            utf8: (header.opcode == OpCode::Text).then(Utf8Decoder::default),
            fragments: 0,
            empty: 0,
            since: None,
            announced: 0,
            frame: None,
            inflating: compression.map(|c| Box::new(c.begin(resources))),
            streamed: false,
            begun: false,
        }
    }

    /// Judges the frame by its header alone, before any memory is spent on it.
    fn charge(&mut self, header: &FrameHeader, rules: &Rules<'_>) -> Result<(), ProtocolError> {
        self.fragments += 1;
        self.announced = self.announced.saturating_add(header.len);
        let spare = match rules.streaming {
            None => 0,
            Some(_) => self.announced / BYTES_PER_FRAGMENT,
        };
        if u64::from(self.fragments) > u64::from(rules.config.limits.max_fragments) + spare {
            return Err(ProtocolError::TooManyFragments);
        }
        self.empty += u32::from(header.len == 0 && !header.fin);
        if self.empty > rules.config.limits.max_empty_fragments {
            return Err(ProtocolError::TooManyEmptyFragments);
        }
        let mut charged = self.announced;
        if rules.streaming.is_none() {
            charged = charged.saturating_add(self.overhead(header.fin));
        }
        let mut longest = rules.longest();
        if self.inflating.is_some() {
            // What does not compress grows: with fixed codes an octet takes up to nine bits.
            longest = longest.saturating_add(longest / 8 + 1024);
        }
        if charged > longest {
            // What weighs more by its pieces than by what is in them is a flood of pieces.
            let by_fragments = charged - self.announced > self.announced;
            return Err(match by_fragments {
                true => ProtocolError::TooManyFragments,
                false => ProtocolError::MessageTooBig,
            });
        }
        self.streamed |= self.inflating.is_none() && self.announced > rules.whole() as u64;
        Ok(())
    }

    /// What the fragments cost beside their payload. A message in one frame, cut only by reads, is no
    /// fragment.
    fn overhead(&self, fin: bool) -> u64 {
        match (fin, self.fragments) {
            (true, 1) => 0,
            (_, n) => u64::from(n) * FRAGMENT_OVERHEAD as u64,
        }
    }

    /// Takes what has come of the open frame.
    fn take_payload(
        &mut self,
        input: &mut &mut [u8],
        resources: &mut Resources,
    ) -> Result<Progress, ProtocolError> {
        let frame = self.frame.as_mut().expect("a frame is open");
        let n = clamp(frame.missing, input.len());
        if n > 0 {
            if self.octets.capacity() == 0 {
                let memory = resources.take_written_buffer(frame.missing as usize);
                self.octets = Gather::new(memory);
            }
            let start = self.octets.len();
            frame.mask = self.octets.append_masked(frame.mask, take(input, n));
            frame.missing -= n as u64;
            if let Some(utf8) = &mut self.utf8 {
                utf8.feed(self.octets.since(start))?;
            }
        }
        Ok(self.frame_progress())
    }

    /// Takes what was read into the room behind the octets.
    fn take_filled(&mut self, n: usize) -> Result<Progress, ProtocolError> {
        let frame = self.frame.as_mut().expect("a frame is open");
        let fresh = self.octets.fill(clamp(frame.missing, n));
        frame.mask = apply_mask(frame.mask, fresh);
        frame.missing -= fresh.len() as u64;
        if let Some(utf8) = &mut self.utf8 {
            utf8.feed(fresh)?;
        }
        Ok(self.frame_progress())
    }

    /// Whether the frame has ended, and the message with it.
    fn frame_progress(&mut self) -> Progress {
        match &self.frame {
            Some(frame) if frame.missing > 0 => Progress::None,
            Some(frame) if !frame.fin => {
                self.frame = None;
                Progress::None
            }
            _ => {
                self.frame = None;
                Progress::Complete
            }
        }
    }

    /// Takes and inflates what has come of the open frame, up to a piece of the message.
    fn inflate(
        &mut self,
        rules: &mut Rules<'_>,
        input: &mut &mut [u8],
        resources: &mut Resources,
    ) -> Result<Progress, ProtocolError> {
        let bounds = self.bounds(rules);
        let pause_at = match rules.streaming {
            None => usize::MAX,
            Some(_) if self.streamed => PIECE,
            Some(_) => rules.whole() + 1,
        };
        let start = self.octets.len();
        let frame = self.frame.as_mut().expect("a frame is open");
        let n = clamp(frame.missing, input.len());
        let mut paused = false;
        if n > 0 {
            if self.octets.capacity() == 0 {
                self.octets = Gather::new(resources.take_buffer(PIECE));
            }
            if frame.unmasked < n {
                frame.mask = apply_mask(frame.mask, &mut input[frame.unmasked..n]);
                frame.unmasked = n;
            }
            let inflating = self.inflating.as_mut().expect("the message is compressed");
            let octets = &input[frame.fed..n];
            let fed = self
                .octets
                .append_with(|out| inflating.feed(octets, out, pause_at, bounds))?;
            frame.fed += fed.consumed;
            paused = fed.paused;
            let done = if paused { frame.fed.min(n - 1) } else { n };
            take(input, done);
            frame.missing -= done as u64;
            frame.fed -= done;
            frame.unmasked -= done;
        }
        self.inflated(start, rules)?;
        if paused {
            self.streamed = true;
            return Ok(Progress::Piece);
        }
        match self.frame_progress() {
            Progress::None if self.streamed && self.octets.len() > 0 => Ok(Progress::Piece),
            progress => Ok(progress),
        }
    }

    fn bounds(&self, rules: &Rules<'_>) -> Bounds {
        let overhead = match (&rules.streaming, &self.frame) {
            (None, Some(frame)) => self.overhead(frame.fin),
            _ => 0,
        };
        let size = rules.longest().saturating_sub(overhead);
        Bounds::new(size, &rules.config.deflate)
    }

    /// What stands in `octets` from `start` on was inflated.
    fn inflated(&mut self, start: usize, rules: &mut Rules<'_>) -> Result<(), ProtocolError> {
        if let Some(utf8) = &mut self.utf8 {
            utf8.feed(self.octets.since(start))?;
        }
        if let Some(compression) = &mut rules.compression {
            compression.inflated(self.octets.since(start));
        }
        Ok(())
    }

    /// The last octet has come: the message, or its last piece.
    fn complete<'a>(
        mut self,
        rules: &mut Rules<'_>,
        resources: &mut Resources,
    ) -> Result<Received<'a>, ProtocolError> {
        if let Some(mut inflating) = self.inflating.take() {
            let (start, bounds) = (self.octets.len(), self.bounds(rules));
            self.octets
                .append_with(|out| inflating.finish(out, bounds))?;
            self.inflated(start, rules)?;
            if let Some(compression) = &mut rules.compression {
                compression.end(*inflating, &rules.config.deflate, resources);
            }
        }
        self.utf8.unwrap_or_default().finish()?;
        let octets = self.octets.take();
        if self.streamed {
            return Ok(Received::Piece(
                self.piece(PieceOctets::Owned(octets), true),
            ));
        }
        Ok(Received::Message(match self.utf8 {
            Some(_) => Message::AssembledText(octets),
            None => Message::AssembledBinary(octets),
        }))
    }

    fn piece<'a>(&mut self, octets: PieceOctets<'a>, last: bool) -> Piece<'a> {
        Piece {
            kind: match self.utf8 {
                Some(_) => MessageKind::Text,
                None => MessageKind::Binary,
            },
            first: !std::mem::replace(&mut self.begun, true),
            last,
            octets,
        }
    }

    /// Gives buffer and codec back.
    fn dismantle(mut self, resources: &mut Resources) {
        resources.recycle(self.octets.take());
        if let Some(inflating) = self.inflating {
            resources.codecs.recycle_inflater(inflating.into_inflater());
        }
    }
}

/// The longest message that is delivered whole.
#[inline]
pub(super) fn longest_whole(config: &Config, streaming: Option<&Streaming>) -> usize {
    match streaming {
        None => config.limits.max_message_size,
        Some(streaming) => streaming.whole(config),
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

/// A message that lies whole in the input: unmasked in place, lent out.
fn whole_message(
    opcode: OpCode,
    mask: MaskKey,
    payload: &mut [u8],
) -> Result<Message<'_>, ProtocolError> {
    if opcode == OpCode::Text {
        return unmask_text(mask, payload).map(Message::Text);
    }
    apply_mask(mask, payload);
    Ok(Message::Binary(payload))
}

/// Unmasks a text in place. Validates it in a second pass, unless the first has seen nothing but ASCII.
#[inline]
pub(super) fn unmask_text(mask: MaskKey, payload: &mut [u8]) -> Result<&str, ProtocolError> {
    match unmask_ascii(mask, payload) {
        Ok(text) => Ok(text),
        Err(octets) => simdutf8::basic::from_utf8(octets).map_err(|_| ProtocolError::TextNotUtf8),
    }
}

/// Cuts the first `n` octets off `input`.
#[inline]
fn take<'a>(input: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let (taken, rest) = std::mem::take(input).split_at_mut(n);
    *input = rest;
    taken
}

fn clamp(missing: u64, available: usize) -> usize {
    usize::try_from(missing)
        .unwrap_or(usize::MAX)
        .min(available)
}
