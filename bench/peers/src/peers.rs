//! The libraries, each as its authors use it and tuned as design notes found best: one task a connection; all that is
//! ready is answered with one flush where the library lets one see that.

use crate::room::{BATCH, Mode, Room, converse};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// TCP, or TLS over it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for S {}

/// Ours. Who wants to know the path serves HTTP first; here all is echoed.
pub(crate) async fn tidegate<S: Transport>(io: S) {
    let Ok(mut ws) = tidegate::accept(io).await else {
        return;
    };
    while let Ok(message) = ws.recv().await {
        if ws.feed(message).await.is_err() {
            return;
        }
    }
}

pub(crate) async fn tungstenite<S: Transport>(io: S) {
    use tokio_tungstenite::accept_hdr_async_with_config;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
    use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
    static ROOM: Room<Message> = Room::new();
    let mut mode = Mode::Echo;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        mode = Mode::of(request.uri().path());
        Ok(response)
    };
    // It zeroes its whole read buffer before each read, so the default of 128 KiB costs more than all else.
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    if let Ok(ws) = accept_hdr_async_with_config(io, path, Some(config)).await {
        converse(ws, mode, &ROOM, |message| {
            message.ok().filter(|m| m.is_text() || m.is_binary())
        })
        .await;
    }
}

pub(crate) async fn tokio_websockets<S: Transport>(io: S) {
    use tokio_websockets::{Config, Limits, Message, ServerBuilder};
    static ROOM: Room<Message> = Room::new();
    let builder = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    if let Ok((request, ws)) = builder.accept(io).await {
        converse(ws, Mode::of(request.uri().path()), &ROOM, |message| {
            message.ok().filter(|m| m.is_text() || m.is_binary())
        })
        .await;
    }
}

pub(crate) async fn fastwebsockets<S: Transport>(io: S) {
    use fastwebsockets::{WebSocketError, upgrade};
    let service = service_fn(|mut request: Request<Incoming>| async move {
        let mode = Mode::of(request.uri().path());
        let (response, upgraded) = upgrade::upgrade(&mut request)?;
        tokio::spawn(tokio::task::unconstrained(async move {
            let Ok(ws) = upgraded.await else { return };
            let _ = match mode {
                Mode::Broadcast => fastwebsockets_broadcast(ws).await,
                Mode::Echo | Mode::Sink => fastwebsockets_echo(ws, mode).await,
            };
        }));
        Ok::<_, WebSocketError>(response)
    });
    upgrades(io, service).await;
}

type FastIo = TokioIo<hyper::upgrade::Upgraded>;

async fn fastwebsockets_echo(
    ws: fastwebsockets::WebSocket<FastIo>,
    mode: Mode,
) -> Result<(), fastwebsockets::WebSocketError> {
    use fastwebsockets::{FragmentCollector, OpCode};
    let mut ws = FragmentCollector::new(ws);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary if mode == Mode::Echo => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// Reading a frame must not be given up half-way, so it has a task of its own beside the writing.
async fn fastwebsockets_broadcast(
    ws: fastwebsockets::WebSocket<FastIo>,
) -> Result<(), fastwebsockets::WebSocketError> {
    use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError};
    static ROOM: Room<(OpCode, Bytes)> = Room::new();
    let (reader, mut writer) = ws.split(tokio::io::split);
    let mut inbox = ROOM.join();
    let writing = tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            for (opcode, payload) in batch.drain(..) {
                let frame = Frame::new(true, opcode, None, Payload::Borrowed(&payload));
                if writer.write_frame(frame).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut reader = FragmentCollectorRead::new(reader);
    // Nobody pings here, and a Close ends it all.
    let mut obliged = |_: Frame<'_>| std::future::ready(Ok::<_, WebSocketError>(()));
    while let Ok(frame) = reader.read_frame(&mut obliged).await {
        match frame.opcode {
            OpCode::Close => break,
            OpCode::Text | OpCode::Binary => {
                ROOM.send(&(frame.opcode, Bytes::copy_from_slice(&frame.payload)));
            }
            _ => {}
        }
    }
    writing.abort();
    Ok(())
}

pub(crate) async fn yawc<S: Transport>(io: S, deflate: bool) {
    use yawc::{CompressionLevel, Frame, OpCode, Options, WebSocket};
    static ROOM: Room<Frame> = Room::new();
    let upgrade = move |mut request: Request<Incoming>| async move {
        let mode = Mode::of(request.uri().path());
        let mut options = Options::default()
            .with_utf8()
            .with_max_payload_read(100 << 20)
            .with_max_read_buffer(200 << 20)
            .with_read_buffer_capacity(128 << 10)
            .with_backpressure_boundary(64 << 10);
        if deflate {
            options = options.with_compression_level(CompressionLevel::default());
        }
        let (response, upgraded) = WebSocket::upgrade_with_options(&mut request, options)?;
        tokio::spawn(async move {
            if let Ok(ws) = upgraded.await {
                let data = |frame: &Frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
                converse(ws, mode, &ROOM, |frame| Some(frame).filter(data)).await;
            }
        });
        yawc::Result::<Response<Empty<Bytes>>>::Ok(response)
    };
    upgrades(io, service_fn(upgrade)).await;
}

/// Serves HTTP until an upgrade takes the connection away.
async fn upgrades<S, F, B>(io: S, service: F)
where
    S: Transport,
    F: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F::Future: Send + 'static,
    F: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
}
