//! Three implementations behind one function each: octets in, messages and the end out.

use futures_core::Stream;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tidegate_cases::random::Numbers;
use tidegate_proto::{CloseCode, Config, Connection, Event, Limits, Outbox, Resources, Role, Time};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message that any of the three takes.
const LONGEST: usize = 1 << 16;

/// What became of a stream of octets.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages delivered: whether text, and the payload.
    pub(crate) messages: Vec<(bool, Vec<u8>)>,
    pub(crate) end: End,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// More is awaited.
    Open,
    /// The peer's Close was taken, with this code.
    Closed(Option<u16>),
    /// The peer was found to break the protocol: the implementation's own words.
    Failed(String),
}

pub(crate) fn tidegate(role: Role, octets: &[u8]) -> Outcome {
    let limits = Limits {
        max_message_size: LONGEST,
        ..Limits::default()
    };
    let config = Arc::new(Config {
        limits,
        ..Config::default()
    });
    let mut resources = Resources::new(Box::new(Numbers(1)));
    let mut connection = Connection::new(role, config, Outbox::default(), Time::ZERO);
    let mut octets = octets.to_vec();
    let mut input = &mut octets[..];
    let (mut messages, mut end) = (Vec::new(), End::Open);
    while let Some(event) = connection.receive(Time::ZERO, &mut input, &mut resources) {
        match event {
            Event::Message(message) => {
                messages.push((message.is_text(), message.as_bytes().to_vec()))
            }
            Event::Part(_) => unreachable!("nobody asked for parts"),
            Event::Closed(closed) => {
                end = match closed.cause {
                    Some(cause) => End::Failed(format!("{cause:?}")),
                    None => End::Closed(closed.code.map(CloseCode::get)),
                }
            }
        }
    }
    Outcome { messages, end }
}

pub(crate) fn tungstenite(role: Role, octets: &[u8]) -> Outcome {
    use tungstenite::protocol::{Role as Theirs, WebSocket, WebSocketConfig};
    use tungstenite::{Error, Message};
    let role = match role {
        Role::Server => Theirs::Server,
        Role::Client => Theirs::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST));
    let mut socket = WebSocket::from_raw_socket(Wire::new(octets), role, Some(config));
    let mut messages = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push((true, text.as_bytes().to_vec())),
            Ok(Message::Binary(payload)) => messages.push((false, payload.to_vec())),
            Ok(Message::Close(frame)) => break End::Closed(frame.map(|frame| frame.code.into())),
            Ok(_) => {}
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => break End::Open,
            Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => break End::Open,
            Err(error) => break End::Failed(format!("{error:?}")),
        }
    };
    Outcome { messages, end }
}

pub(crate) fn tokio_websockets(role: Role, octets: &[u8]) -> Outcome {
    use tokio_websockets::{ClientBuilder, Error, Limits, ServerBuilder};
    let limits = Limits::default().max_payload_len(Some(LONGEST));
    let wire = Wire::new(octets);
    let mut stream = match role {
        Role::Server => ServerBuilder::new().limits(limits).serve(wire),
        Role::Client => ClientBuilder::new().limits(limits).take_over(wire),
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut messages = Vec::new();
    let end = loop {
        match Pin::new(&mut stream).poll_next(&mut context) {
            Poll::Ready(Some(Ok(message))) if message.is_text() => {
                messages.push((true, message.as_payload().to_vec()));
            }
            Poll::Ready(Some(Ok(message))) if message.is_binary() => {
                messages.push((false, message.as_payload().to_vec()));
            }
            Poll::Ready(Some(Ok(message))) if message.is_close() => {
                let code = message.as_close().map(|(code, _)| u16::from(code));
                // Its value for a Close without a code.
                break End::Closed(code.filter(|code| *code != 1005));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(Error::Io(_)))) | Poll::Ready(None) | Poll::Pending => {
                break End::Open;
            }
            Poll::Ready(Some(Err(error))) => break End::Failed(format!("{error:?}")),
        }
    };
    Outcome { messages, end }
}

/// A transport that has these octets and then ends; what is written is taken and forgotten.
struct Wire {
    octets: io::Cursor<Vec<u8>>,
}

impl Wire {
    fn new(octets: &[u8]) -> Wire {
        let octets = io::Cursor::new(octets.to_vec());
        Wire { octets }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.octets.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.octets.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
