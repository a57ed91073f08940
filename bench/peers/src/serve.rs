//! One server at a time, on one thread: our engine, or a library on tokio.

use crate::peers::{self, Transport};
use crate::{Result, engine, sockudo};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tidegate::rustls::{ClientConfig, RootCertStore};
use tidegate::tls;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

/// `serve PEER [PORT] [--tls] [--deflate]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let peer = Peer::of(words.first().ok_or("serve: which server?")?)?;
    let port: u16 = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let (tls, deflate) = (words.contains(&"--tls"), words.contains(&"--deflate"));
    if port == 0 {
        std::thread::spawn(|| {
            // A parent that is gone wants nothing more.
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(0);
        });
    }
    raise_open_files()?;
    if peer == Peer::Engine {
        return engine::serve(port, deflate);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(peer, port, tls, deflate))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Engine,
    Tidegate,
    TokioTungstenite,
    Fastwebsockets,
    TokioWebsockets,
    Yawc,
    SockudoWs,
}

impl Peer {
    fn of(name: &str) -> Result<Peer> {
        Ok(match name {
            "engine" => Peer::Engine,
            "tidegate" => Peer::Tidegate,
            "tokio-tungstenite" => Peer::TokioTungstenite,
            "fastwebsockets" => Peer::Fastwebsockets,
            "tokio-websockets" => Peer::TokioWebsockets,
            "yawc" => Peer::Yawc,
            "sockudo-ws" => Peer::SockudoWs,
            other => return Err(format!("there is no server {other}").into()),
        })
    }
}

async fn serve(peer: Peer, port: u16, tls: bool, deflate: bool) -> Result<()> {
    let listener = listen(port)?;
    let made = tls.then(server_config).transpose()?;
    let (acceptor, certificate) = made.map_or((None, Vec::new()), |(a, c)| (Some(a), c));
    let hex: String = certificate.iter().map(|o| format!("{o:02x}")).collect();
    println!("{} {hex}", listener.local_addr()?.port());
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        match acceptor.clone() {
            // Without TLS each library gets the TcpStream itself.
            None => connection(peer, tcp, deflate),
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(io) = acceptor.accept(tcp).await {
                    let io: Box<dyn Transport> = Box::new(io);
                    connection(peer, io, deflate);
                }
            })),
        }
    }
}

fn connection<S: Transport>(peer: Peer, io: S, deflate: bool) {
    match peer {
        Peer::Engine => unreachable!("it does not run on tokio"),
        Peer::Tidegate => drop(tokio::spawn(peers::tidegate(io))),
        Peer::TokioTungstenite => drop(tokio::spawn(peers::tungstenite(io))),
        Peer::Fastwebsockets => drop(tokio::spawn(peers::fastwebsockets(io))),
        // Exempt from tokio's budget, as its own benchmark is.
        Peer::TokioWebsockets => {
            drop(tokio::spawn(tokio::task::unconstrained(
                peers::tokio_websockets(io),
            )));
        }
        Peer::Yawc => drop(tokio::spawn(peers::yawc(io, deflate))),
        Peer::SockudoWs => drop(tokio::spawn(sockudo::serve(io, deflate))),
    }
}

/// With a backlog for thousands who come at once.
fn listen(port: u16) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket.listen(16_384)?)
}

/// As many sockets as the system lets it hold.
fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
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
