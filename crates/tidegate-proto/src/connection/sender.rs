//! Sending on a connection with extras: compressed messages and messages in parts; plain connections do
//! not come here.

use super::encoded::{Deflated, Encoded};
use super::extras::{MessageKind, Outgoing, StreamMisuse};
use super::outbox::{Level, Outbox};
use super::resources::Resources;
use super::{Connection, Role};
use crate::frame::{FrameHeader, MAX_HEADER, OpCode};
use crate::mask::apply_mask;
use crate::utf8::Utf8Decoder;
use std::sync::Arc;

/// A message as it will be sent.
enum Ready {
    Plain,
    /// Deflated for this connection alone.
    Own(Vec<u8>),
    /// Deflated once for all.
    Shared(Arc<Deflated>),
}

impl Connection {
    /// Queues a message, compressed where that was agreed and pays.
    pub(super) fn send_with_extras(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        shared: Option<&Encoded>,
        resources: &mut Resources,
    ) -> Level {
        // Nothing is deflated in vain for a peer that is gone or full.
        if let Some(refused) = self.refuses(0) {
            return refused;
        }
        let ready = self.ready(payload, shared, resources);
        let len = match &ready {
            Ready::Plain => payload.len(),
            Ready::Own(deflated) => deflated.len(),
            Ready::Shared(frame) => frame.payload().len(),
        };
        if let Some(refused) = self.refuses(len + MAX_HEADER) {
            self.forget_context(resources);
            return refused;
        }
        match ready {
            Ready::Plain => match shared.filter(|_| self.role == Role::Server) {
                Some(frame) => self.data_outbox().push_shared(frame, resources),
                None => self.push_data(opcode, false, payload, resources),
            },
            Ready::Own(deflated) => {
                self.push_data(opcode, true, &deflated, resources);
                resources.recycle(deflated);
            }
            Ready::Shared(frame) if self.role == Role::Server => {
                self.data_outbox().push_deflated(&frame, resources);
            }
            Ready::Shared(frame) => self.push_data(opcode, true, frame.payload(), resources),
        }
        self.level()
    }

    /// Deflates a message, if that was agreed and pays.
    fn ready(
        &mut self,
        payload: &[u8],
        shared: Option<&Encoded>,
        resources: &mut Resources,
    ) -> Ready {
        let config = &self.config.deflate;
        let Some(extras) = &mut self.extras else {
            return Ready::Plain;
        };
        let Some(compression) = &mut extras.compression else {
            return Ready::Plain;
        };
        let Some(key) = compression.key_for(payload.len(), config) else {
            return Ready::Plain;
        };
        if shared.is_some_and(|frame| !frame.is_compressible()) {
            return Ready::Plain;
        }
        let own_context = compression.has_own_context(config, resources);
        match shared {
            Some(frame) if !own_context => match frame.deflated(key, &mut resources.codecs) {
                Some(frame) => Ready::Shared(frame.clone()),
                None => Ready::Plain,
            },
            _ => {
                let deflated = compression.deflate(key, payload, own_context, config, resources);
                // In a context the octets have moved the window: they must be sent, shorter or not.
                if own_context || deflated.len() < payload.len() {
                    return Ready::Own(deflated);
                }
                resources.recycle(deflated);
                Ready::Plain
            }
        }
    }

    /// Begins a message that is sent in parts, of unknown length. Until [`Connection::finish`] other
    /// messages to this peer wait behind it, within the limits of the outbox; control frames do not.
    ///
    /// # Errors
    /// [`StreamMisuse::AlreadyBegun`].
    pub fn begin(
        &mut self,
        kind: MessageKind,
        resources: &mut Resources,
    ) -> Result<Level, StreamMisuse> {
        self.begin_stream(kind, true, resources)
    }

    /// The same for a message that is not to be compressed: see [`Encoded::uncompressed`].
    ///
    /// # Errors
    /// [`StreamMisuse::AlreadyBegun`].
    pub fn begin_uncompressed(
        &mut self,
        kind: MessageKind,
        resources: &mut Resources,
    ) -> Result<Level, StreamMisuse> {
        self.begin_stream(kind, false, resources)
    }

    fn begin_stream(
        &mut self,
        kind: MessageKind,
        compressible: bool,
        resources: &mut Resources,
    ) -> Result<Level, StreamMisuse> {
        if !self.phase.is_open() {
            return Ok(Level::Gone);
        }
        let extras = self.extras.get_or_insert_default();
        if extras.outgoing.is_some() {
            return Err(StreamMisuse::AlreadyBegun);
        }
        let mut compressor = None;
        if let Some(compression) = &mut extras.compression {
            // The message moves the peer's window and not ours. What waits behind it begins a new context.
            compression.forget_sender(resources);
            let key = compression.key().filter(|_| compressible);
            compressor = key.map(|key| resources.codecs.take_compressor(key));
        }
        extras.outgoing = Some(Box::new(Outgoing {
            opcode: kind.opcode(),
            begun: false,
            utf8: (kind == MessageKind::Text).then(Utf8Decoder::default),
            compressor,
            deferred: Outbox::default(),
        }));
        Ok(self.level())
    }

    /// Queues the next part of the message begun, as one frame that the peer can use at once. A text may be
    /// cut anywhere, also inside a character. At [`Level::High`] wait until the outbox has drained; at
    /// [`Level::Full`] the part was not queued.
    ///
    /// # Errors
    /// [`StreamMisuse`]; nothing was queued.
    pub fn part(&mut self, bytes: &[u8], resources: &mut Resources) -> Result<Level, StreamMisuse> {
        if let Some(refused) = self.refuses(bytes.len() + MAX_HEADER) {
            return Ok(refused);
        }
        let outgoing = self.outgoing()?;
        if let Some(utf8) = &mut outgoing.utf8 {
            let mut next = *utf8;
            next.feed(bytes).map_err(|_| StreamMisuse::NotUtf8)?;
            *utf8 = next;
        }
        if bytes.is_empty() {
            return Ok(self.level());
        }
        match outgoing.compressor.take() {
            None => self.push_stream_frame(false, false, bytes, resources),
            Some(mut compressor) => {
                let mut deflated = resources.take_buffer(bytes.len() / 4);
                compressor.flush(bytes, &mut deflated);
                self.push_stream_frame(false, true, &deflated, resources);
                resources.recycle(deflated);
                self.outgoing()?.compressor = Some(compressor);
            }
        }
        Ok(self.level())
    }

    /// Ends the message begun; what waited behind it follows.
    ///
    /// # Errors
    /// [`StreamMisuse::NotUtf8`] when a text ends inside a character: it can still go on.
    pub fn finish(&mut self, resources: &mut Resources) -> Result<Level, StreamMisuse> {
        if !self.phase.is_open() {
            return Ok(Level::Gone);
        }
        let outgoing = self.outgoing()?;
        if let Some(utf8) = outgoing.utf8 {
            utf8.finish().map_err(|_| StreamMisuse::NotUtf8)?;
        }
        match outgoing.compressor.take() {
            None => self.push_stream_frame(true, false, b"", resources),
            Some(compressor) => {
                resources.codecs.deflated += 1;
                resources.codecs.recycle_compressor(compressor);
                //= rfc7692#7.2.3.6  what was flushed already ends with an empty block of one octet.
                self.push_stream_frame(true, true, &[0], resources);
            }
        }
        let extras = self.extras.as_mut().expect("the message was begun");
        let outgoing = extras.outgoing.take().expect("the message was begun");
        self.outbox.append(outgoing.deferred, resources);
        Ok(self.level())
    }

    /// Forgets a message that was not sent to its end, and what waits behind it.
    pub(super) fn drop_outgoing(&mut self, resources: &mut Resources) {
        let outgoing = self
            .extras
            .as_mut()
            .and_then(|extras| extras.outgoing.take());
        if let Some(mut outgoing) = outgoing {
            outgoing.deferred.clear(resources);
            if let Some(compressor) = outgoing.compressor {
                resources.codecs.recycle_compressor(compressor);
            }
        }
    }

    fn outgoing(&mut self) -> Result<&mut Outgoing, StreamMisuse> {
        let extras = self.extras.as_mut().ok_or(StreamMisuse::NotBegun)?;
        extras.outgoing.as_deref_mut().ok_or(StreamMisuse::NotBegun)
    }

    fn push_stream_frame(
        &mut self,
        fin: bool,
        compressed: bool,
        payload: &[u8],
        resources: &mut Resources,
    ) {
        let Ok(outgoing) = self.outgoing() else {
            return;
        };
        let first = !std::mem::replace(&mut outgoing.begun, true);
        let opcode = if first {
            outgoing.opcode
        } else {
            OpCode::Continuation
        };
        let header = FrameHeader {
            fin,
            //= rfc7692#6.1  RSV1 is set on the first frame of a compressed message, and on no other.
            rsv1: compressed && first,
            ..FrameHeader::new(opcode, payload.len() as u64)
        };
        push(self.role, &mut self.outbox, header, payload, resources);
    }

    fn push_data(&mut self, opcode: OpCode, rsv1: bool, payload: &[u8], resources: &mut Resources) {
        let header = FrameHeader {
            rsv1,
            ..FrameHeader::new(opcode, payload.len() as u64)
        };
        let role = self.role;
        push(role, self.data_outbox(), header, payload, resources);
    }

    /// Where whole messages go: behind the message in parts, if there is one.
    fn data_outbox(&mut self) -> &mut Outbox {
        let outgoing = self.extras.as_mut().and_then(|e| e.outgoing.as_mut());
        match outgoing {
            Some(outgoing) => &mut outgoing.deferred,
            None => &mut self.outbox,
        }
    }

    /// Capacity of all the buffers of the connection.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let outgoing = self.extras.as_ref().and_then(|e| e.outgoing.as_ref());
        let deferred = outgoing.map_or(0, |outgoing| outgoing.deferred.capacity());
        self.outbox.capacity() + self.receiver.capacity() + deferred
    }

    /// Octets that wait behind a message in parts.
    pub(super) fn deferred(&self) -> usize {
        let outgoing = self.extras.as_ref().and_then(|e| e.outgoing.as_ref());
        outgoing.map_or(0, |outgoing| outgoing.deferred.len())
    }

    /// What was just deflated is not sent, so the peer's window and ours differ.
    fn forget_context(&mut self, resources: &mut Resources) {
        if let Some(extras) = &mut self.extras {
            if let Some(compression) = &mut extras.compression {
                compression.forget_sender(resources);
            }
        }
    }
}

/// Queues a frame whatever the limits say; a client's is masked with a fresh key.
pub(super) fn push(
    role: Role,
    outbox: &mut Outbox,
    mut header: FrameHeader,
    payload: &[u8],
    resources: &mut Resources,
) {
    let mut octets = [0; MAX_HEADER];
    if role == Role::Server {
        let len = header.encode(&mut octets);
        outbox.push(&octets[..len], payload, resources);
        return;
    }
    //= rfc6455#5.3  each frame gets a new key that cannot be predicted.
    let mask = resources.mask_key();
    header.mask = Some(mask);
    let len = header.encode(&mut octets);
    outbox.push_masked(&octets[..len], payload, mask, resources);
}

/// The same for a payload that is given away.
pub(super) fn push_owned(
    role: Role,
    outbox: &mut Outbox,
    mut header: FrameHeader,
    mut payload: Vec<u8>,
    resources: &mut Resources,
) {
    if role == Role::Client {
        let mask = resources.mask_key();
        header.mask = Some(mask);
        apply_mask(mask, &mut payload);
    }
    let mut octets = [0; MAX_HEADER];
    let len = header.encode(&mut octets);
    outbox.push_owned(&octets[..len], payload, resources);
}
