//! sockudo-ws as its authors use it: for an echo its raw protocol (without a check of UTF-8) and one write for all that
//! one read gave; for the rest its stream.

use crate::Result;
use crate::room::{Mode, Room, converse};
use bytes::{Buf, BytesMut};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::frame::encode_frame;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::protocol::Protocol;
use sockudo_ws::stream::CompressedWebSocketStream;
use sockudo_ws::{
    Config, DeflateConfig, Error, Message, OpCode, RawMessage, Role, WebSocketStream,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

static ROOM: Room<Message> = Room::new();

pub(crate) async fn serve<S>(mut io: S, deflate: bool) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut octets = BytesMut::with_capacity(4096);
    let (mode, agreed) = loop {
        if io.read_buf(&mut octets).await? == 0 {
            return Ok(());
        }
        let Some((request, used)) = parse_request(&octets)? else {
            continue;
        };
        let offered = request.extensions.filter(|_| deflate);
        let agreed =
            offered.and_then(|offer| negotiate_server_deflate(offer, &DeflateConfig::default()));
        let extensions = agreed.as_ref().map(|agreed| agreed.to_response_header());
        let answer = build_response(
            &generate_accept_key(request.key),
            None,
            extensions.as_deref(),
        );
        let mode = Mode::of(&request.path);
        octets.advance(used);
        io.write_all(&answer).await?;
        break (mode, agreed);
    };
    let config = Config::builder()
        .max_payload_length(MOST)
        .idle_timeout(0)
        .auto_ping(false)
        .max_backpressure(1 << 30)
        .build();
    if mode == Mode::Echo && agreed.is_none() {
        return echo(io, octets).await;
    }
    let rest = (!octets.is_empty()).then(|| octets.freeze());
    let data = |item: std::result::Result<Message, Error>| {
        item.ok()
            .filter(|message| matches!(message, Message::Text(_) | Message::Binary(_)))
    };
    match agreed {
        Some(agreed) => {
            let ws =
                CompressedWebSocketStream::server_with_leftover(io, config, agreed.config, rest);
            converse(ws, mode, &ROOM, data).await;
        }
        None => {
            let ws = WebSocketStream::from_raw_with_leftover(io, Role::Server, config, rest);
            converse(ws, mode, &ROOM, data).await;
        }
    }
    Ok(())
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut io: S, mut octets: BytesMut) -> Result<()> {
    let mut protocol = Protocol::new(Role::Server, MOST, MOST);
    let (mut messages, mut out) = (Vec::new(), BytesMut::new());
    loop {
        protocol.process_raw_into(&mut octets, &mut messages)?;
        let mut over = false;
        for message in messages.drain(..) {
            let (opcode, payload) = match message {
                RawMessage::Text(payload) => (OpCode::Text, payload),
                RawMessage::Binary(payload) => (OpCode::Binary, payload),
                RawMessage::Ping(payload) => (OpCode::Pong, payload),
                RawMessage::Pong(_) => continue,
                RawMessage::Close(_) => {
                    over = true;
                    encode_frame(&mut out, OpCode::Close, &[], true, None);
                    continue;
                }
            };
            encode_frame(&mut out, opcode, &payload, true, None);
        }
        if !out.is_empty() {
            io.write_all(&out).await?;
            out.clear();
        }
        if over || io.read_buf(&mut octets).await? == 0 {
            return Ok(());
        }
    }
}

/// Longest message.
const MOST: usize = 100 << 20;
