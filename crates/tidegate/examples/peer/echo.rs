//! Echo servers: one for each door through which a WebSocket can come in. They know nothing of what is echoed.

use crate::{Result, settings};
use axum::Router;
use axum::extract::Extension;
use axum::routing::any;
use axum::serve::Listener;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidegate::upgrade::{Upgrade, refused};
use tidegate::{Acceptor, OriginPolicy, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Serves until standard input ends. `folder` holds `cert.pem` and `key.pem` for TLS.
pub(crate) async fn run(door: &str, folder: Option<&Path>) -> Result<()> {
    let door_keeper = Doors {
        listener: TcpListener::bind("127.0.0.1:0").await?,
        tls: folder
            .map(|folder| tls(folder, door == "hyper"))
            .transpose()?,
    };
    println!("listening on {}", door_keeper.listener.local_addr()?);
    let acceptor = Acceptor::new()
        .config(settings::config(true))
        .origins(OriginPolicy::Any)
        .subprotocols(["echo.v2", "echo.v1"])
        .secure(folder.is_some());
    let (end, over) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(()); // the server may have ended by itself
    });
    tokio::select! {
        () = async { match door {
            "accept" => accept(door_keeper, acceptor).await,
            "hyper" => http(door_keeper, acceptor).await,
            "axum" => routes(door_keeper, acceptor).await,
            _ => eprintln!("no door {door}; there are accept, hyper and axum"),
        }} => Err("the server has ended".into()),
        _ = over => Ok(()),
    }
}

/// One by one, without an HTTP server.
async fn accept(mut doors: Doors, acceptor: Acceptor) {
    loop {
        let (io, _) = doors.accept().await;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(ws) = acceptor.accept(io).await {
                echo(ws).await;
            }
        });
    }
}

/// Through hyper, over HTTP/1.1 and HTTP/2.
async fn http(mut doors: Doors, acceptor: Acceptor) {
    loop {
        let (io, _) = doors.accept().await;
        let acceptor = acceptor.clone();
        let service = service_fn(move |request| answer(acceptor.clone(), request));
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().enable_connect_protocol();
            let _ = server
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .await;
        });
    }
}

async fn answer(
    acceptor: Acceptor,
    mut request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    Ok(match acceptor.upgrade(&mut request) {
        Ok(upgrade) => upgrade.on_upgrade(echo),
        Err(refusal) => refused(&refusal),
    })
}

/// Through a router of axum.
async fn routes(doors: Doors, acceptor: Acceptor) {
    let route = any(|upgrade: Upgrade| async move { upgrade.on_upgrade(echo) });
    let router = Router::new().fallback(route).layer(Extension(acceptor));
    if let Err(why) = axum::serve(doors, router).await {
        eprintln!("axum: {why}");
    }
}

/// Sends back what comes, until the end.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) {
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

fn tls(folder: &Path, http2: bool) -> Result<TlsAcceptor> {
    let config = tidegate::tls::server_config(&folder.join("cert.pem"), &folder.join("key.pem"))?;
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections, plain or through TLS.
struct Doors {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener for Doors {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        loop {
            let Ok((tcp, remote)) = self.listener.accept().await else {
                continue;
            };
            let _ = tcp.set_nodelay(true);
            match &self.tls {
                None => return (Io::Plain(tcp), remote),
                // One after the other is quick enough for tests.
                Some(tls) => {
                    if let Ok(io) = tls.accept(tcp).await {
                        return (Io::Tls(Box::new(io)), remote);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
