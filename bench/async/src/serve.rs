//! The echo servers: one thread, one task a connection, each library as its authors use it for an echo. All that is
//! ready is answered with one flush where the library lets one see that.

use crate::Result;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Poll;
use tidegate::rustls::{ClientConfig, RootCertStore};
use tidegate::tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// `serve PEER [PORT] [--tls]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let peer = words.first().ok_or("serve: which server?")?.to_string();
    let port: u16 = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let tls = words.contains(&"--tls");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if port == 0 {
        std::thread::spawn(|| {
            // A parent that is gone wants nothing more.
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(0);
        });
    }
    runtime.block_on(serve(&peer, port, tls))
}

async fn serve(peer: &str, port: u16, tls: bool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let made = tls.then(server_config).transpose()?;
    let (acceptor, certificate) = made.map_or((None, Vec::new()), |(a, c)| (Some(a), c));
    let hex: String = certificate.iter().map(|o| format!("{o:02x}")).collect();
    println!("{} {hex}", listener.local_addr()?.port());
    let task: fn(Box<dyn Transport>) -> Task = match peer {
        "tidegate" => |io| Box::pin(tidegate(io)),
        "tokio-tungstenite" => |io| Box::pin(tungstenite(io)),
        "fastwebsockets" => |io| Box::pin(fastwebsockets(io)),
        "tokio-websockets" => |io| Box::pin(tokio_websockets(io)),
        "yawc" => |io| Box::pin(yawc(io)),
        other => return Err(format!("there is no server {other}").into()),
    };
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        match acceptor {
            // Without TLS each library gets the TcpStream itself.
            None => match peer {
                "tidegate" => drop(tokio::spawn(tidegate(tcp))),
                "tokio-tungstenite" => drop(tokio::spawn(tungstenite(tcp))),
                "fastwebsockets" => drop(tokio::spawn(fastwebsockets(tcp))),
                "tokio-websockets" => drop(tokio::spawn(tokio_websockets(tcp))),
                _ => drop(tokio::spawn(yawc(tcp))),
            },
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(io) = acceptor.accept(tcp).await {
                    let io: Box<dyn Transport> = Box::new(io);
                    task(io).await;
                }
            })),
        }
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// TCP, or TLS over it.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

async fn tidegate<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) {
    let Ok(mut ws) = tidegate::accept(io).await else {
        return;
    };
    while let Ok(message) = ws.recv().await {
        if ws.feed(message).await.is_err() {
            return;
        }
    }
}

async fn tungstenite<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) {
    use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
    // It zeroes its whole read buffer before each read, so the default of 128 KiB costs more than all else.
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    if let Ok(ws) = tokio_tungstenite::accept_async_with_config(io, Some(config)).await {
        echo(ws, |message| {
            message.ok().filter(|m| m.is_text() || m.is_binary())
        })
        .await;
    }
}

async fn tokio_websockets<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) {
    use tokio_websockets::{Config, Limits, ServerBuilder};
    let builder = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    if let Ok((_, ws)) = builder.accept(io).await {
        echo(ws, |message| {
            message.ok().filter(|m| m.is_text() || m.is_binary())
        })
        .await;
    }
}

async fn fastwebsockets<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) {
    use fastwebsockets::{FragmentCollector, OpCode, upgrade};
    let service = service_fn(|mut request: Request<Incoming>| async move {
        let (response, upgraded) = upgrade::upgrade(&mut request)?;
        tokio::spawn(tokio::task::unconstrained(async move {
            let Ok(ws) = upgraded.await else { return };
            let mut ws = FragmentCollector::new(ws);
            while let Ok(frame) = ws.read_frame().await {
                match frame.opcode {
                    OpCode::Close => return,
                    OpCode::Text | OpCode::Binary => {
                        if ws.write_frame(frame).await.is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        }));
        Ok::<_, fastwebsockets::WebSocketError>(response)
    });
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
}

async fn yawc<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) {
    use yawc::{OpCode, Options, WebSocket};
    async fn upgrade(mut request: Request<Incoming>) -> yawc::Result<Response<Empty<Bytes>>> {
        let options = Options::default()
            .with_utf8()
            .with_read_buffer_capacity(16 << 10)
            .with_backpressure_boundary(64 << 10);
        let (response, upgraded) = WebSocket::upgrade_with_options(&mut request, options)?;
        tokio::spawn(async move {
            if let Ok(ws) = upgraded.await {
                let data = |op| matches!(op, OpCode::Text | OpCode::Binary);
                echo(ws, |frame| Some(frame).filter(|frame| data(frame.opcode()))).await;
            }
        });
        Ok(response)
    }
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder
        .serve_connection(TokioIo::new(io), service_fn(upgrade))
        .with_upgrades()
        .await;
}

/// Answers all messages that are ready, up to 64, before one flush.
async fn echo<W, I, M>(mut ws: W, message: impl Fn(I) -> Option<M>)
where
    W: Stream<Item = I> + Sink<M> + Unpin,
{
    while let Some(item) = ws.next().await {
        let mut next = Some(item);
        for _ in 0..64 {
            let Some(item) = next.take() else { break };
            let Some(answer) = message(item) else { break };
            if ws.feed(answer).await.is_err() {
                return;
            }
            next = poll_fn(|cx| match ws.poll_next_unpin(cx) {
                Poll::Ready(item) => Poll::Ready(item),
                Poll::Pending => Poll::Ready(None),
            })
            .await;
        }
        if let Some(answer) = next.and_then(&message) {
            if ws.feed(answer).await.is_err() {
                return;
            }
        }
        if ws.flush().await.is_err() {
            return;
        }
    }
}

/// What it takes for `wss://localhost`, made anew, and the certificate to trust.
fn server_config() -> Result<(TlsAcceptor, Vec<u8>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let config = tls::server_config_from_pem(pem.as_bytes(), key.as_bytes())?;
    Ok((TlsAcceptor::from(config), made.cert.der().to_vec()))
}

/// A client's settings: it trusts this certificate alone.
pub(crate) fn client_config(certificate: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.to_vec().into())?;
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
