//! The server's side of one connection: reads the opening handshake from any transport, judges it and
//! answers it. It never listens, and never speaks other HTTP than refusals.

use crate::WebSocket;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::handshake::{HeadScan, Refusal, server};
use tidegate_proto::{Config, HeadLimits, OriginPolicy, Request, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Accepts a WebSocket on `io`, say a `TcpStream`, with the defaults of [`Acceptor`]: only pages of the
/// same origin, no subprotocol, 10 s for all.
///
/// # Errors
/// [`AcceptError`]; the client has got an answer where that was possible.
///
/// # Cancel safety
/// Not to be resumed: the transport is dropped with the future.
pub async fn accept<S>(io: S) -> Result<WebSocket<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Acceptor::new().accept(io).await
}

/// How handshakes are judged. Make one, then use it for all connections of a kind.
///
/// ```no_run
/// use tidegate::{Acceptor, CloseCode};
///
/// # async fn serve() -> std::io::Result<()> {
/// let acceptor = Acceptor::new().subprotocols(["chat.v2", "chat.v1"]);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
/// loop {
///     let (io, _peer) = listener.accept().await?;
///     let acceptor = acceptor.clone();
///     tokio::spawn(async move {
///         let Ok(mut ws) = acceptor.accept(io).await else { return };
///         while let Ok(message) = ws.recv().await {
///             if ws.send(message).await.is_err() {
///                 break;
///             }
///         }
///     });
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<Config>,
    head: HeadLimits,
    origins: OriginPolicy,
    subprotocols: Vec<String>,
    secure: bool,
}

impl Acceptor {
    /// The defaults: [`Config::default`], [`HeadLimits::default`], same origin, no subprotocol.
    pub fn new() -> Acceptor {
        Acceptor {
            config: Arc::default(),
            head: HeadLimits::default(),
            origins: OriginPolicy::SameOrigin,
            subprotocols: Vec::new(),
            secure: false,
        }
    }

    /// Limits and timeouts of the connections.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Acceptor {
        self.config = config.into();
        self
    }

    /// Limits of the request's head. Its `timeout` bounds the whole handshake; default 10 s.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Acceptor {
        self.head = limits;
        self
    }

    /// Which web pages may connect (RFC 6455 §10.2); others get 403. Default: those of the same origin.
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Acceptor {
        self.origins = origins;
        self
    }

    /// The subprotocols spoken here, the preferred one first. The first that the client offers too is
    /// chosen; when there is none the connection has none, as [`WebSocket::subprotocol`] tells.
    #[must_use]
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Acceptor {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// The transports are encrypted; it matters for what counts as the same origin. Default: they are not.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Acceptor {
        self.secure = secure;
        self
    }

    /// Reads the handshake and accepts it.
    ///
    /// # Errors
    /// [`AcceptError`]; the client has got an answer where that was possible.
    ///
    /// # Cancel safety
    /// Not to be resumed: the transport is dropped with the future.
    pub async fn accept<S>(&self, io: S) -> Result<WebSocket<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.receive(io).await?.accept().await
    }

    /// Reads the handshake and leaves the verdict to you: look at [`Opening::request`], then accept or
    /// reject. What breaks the rules, or comes from a foreign origin, is refused before.
    ///
    /// # Errors
    /// As [`Acceptor::accept`].
    ///
    /// # Cancel safety
    /// Not to be resumed: the transport is dropped with the future.
    pub async fn receive<S>(&self, mut io: S) -> Result<Opening<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let read = read_head(&mut io, self.secure, &self.head);
        let judged = match timeout(self.head.timeout, read).await {
            Ok(read) => read?,
            Err(_) => {
                let refusal = Refusal::new(408, "the request took too long");
                refuse(&mut io, &refusal).await;
                return Err(AcceptError::Timeout);
            }
        };
        let checked = judged.and_then(|(request, early)| {
            self.origins.check(&request)?;
            Ok((request, early))
        });
        match checked {
            Ok((request, early)) => Ok(Opening {
                io,
                subprotocol: self.choose(&request),
                request,
                early,
                config: self.config.clone(),
                timeout: self.head.timeout,
            }),
            Err(refusal) => {
                refuse(&mut io, &refusal).await;
                Err(AcceptError::Refused(refusal))
            }
        }
    }

    /// The first of ours that was offered.
    fn choose(&self, request: &Request) -> Option<String> {
        let offered = |ours: &&String| request.subprotocols().any(|name| name == ours.as_str());
        self.subprotocols.iter().find(offered).cloned()
    }
}

impl Default for Acceptor {
    fn default() -> Acceptor {
        Acceptor::new()
    }
}

/// A handshake that follows the rules and waits for its answer. Dropped without one, the transport is.
pub struct Opening<S> {
    io: S,
    request: Request,
    early: Vec<u8>,
    subprotocol: Option<String>,
    config: Arc<Config>,
    timeout: Duration,
}

impl<S> Opening<S> {
    /// What the client asks for: path, query, headers, subprotocols.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The subprotocol that will be answered.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Limits and timeouts of this connection, instead of the acceptor's.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Opening<S> {
        self.config = config.into();
        self
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Opening<S> {
    /// Answers 101.
    ///
    /// # Errors
    /// [`AcceptError::Io`] or [`AcceptError::Timeout`] when the answer can't be written.
    ///
    /// # Cancel safety
    /// Not to be resumed: the transport is dropped with the future.
    pub async fn accept(mut self) -> Result<WebSocket<S>, AcceptError> {
        let mut answer = Vec::new();
        server::response(&self.request, self.subprotocol.as_deref(), &mut answer)
            .expect("the subprotocol is one of those offered");
        let write = write(&mut self.io, &answer);
        timeout(self.timeout, write)
            .await
            .map_err(|_| AcceptError::Timeout)??;
        let ws = WebSocket::from_upgraded(self.io, Role::Server, self.config, &self.early);
        Ok(ws.with_subprotocol(self.subprotocol))
    }

    /// Answers with `refusal` and closes the transport. Takes at most a second, whatever the client does.
    ///
    /// # Cancel safety
    /// Not to be resumed: the transport is dropped with the future.
    pub async fn reject(mut self, refusal: &Refusal) {
        refuse(&mut self.io, refusal).await;
    }
}

impl<S> fmt::Debug for Opening<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("request", &self.request)
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// No WebSocket came of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The transport failed.
    Io(io::Error),
    /// The client closed before its request was complete, as port scanners and health checks do.
    Closed,
    /// The handshake was not done within [`HeadLimits::timeout`]; the client was told 408.
    Timeout,
    /// The request was refused; the client was told this.
    Refused(Refusal),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> AcceptError {
        AcceptError::Io(error)
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::Io(error) => write!(f, "the transport failed in the handshake: {error}"),
            AcceptError::Closed => f.write_str("the client closed before its request was complete"),
            AcceptError::Timeout => f.write_str("the handshake took too long"),
            AcceptError::Refused(refusal) => {
                write!(f, "refused with {}: {}", refusal.status, refusal.message)
            }
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AcceptError::Io(error) => Some(error),
            _ => None,
        }
    }
}

type Judged = Result<(Request, Vec<u8>), Refusal>;

/// Reads a whole head; the request and what came behind it, or why it is refused.
async fn read_head<S>(io: &mut S, secure: bool, limits: &HeadLimits) -> Result<Judged, AcceptError>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = Vec::with_capacity(1 << 10);
    let mut scan = HeadScan::default();
    loop {
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(AcceptError::Closed);
        }
        let (head, length) = server::resume(&mut scan, &bytes, secure, limits);
        return Ok(match head {
            server::Head::Incomplete => continue,
            server::Head::Upgrade(request) => Ok((request, bytes.split_off(length))),
            server::Head::Plain => Err(not_a_websocket()),
            server::Head::Bad(refusal) => Err(refusal),
        });
    }
}

/// `426`: an ordinary HTTP request; only WebSockets are served here.
fn not_a_websocket() -> Refusal {
    let refusal = Refusal::new(426, "only WebSockets are served here")
        .with_header("Upgrade", "websocket")
        .and_then(|refusal| refusal.with_header("Sec-WebSocket-Version", "13"));
    refusal.expect("both fields can be sent")
}

async fn write<S: AsyncWrite + Unpin>(io: &mut S, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// Tells the client no, as far as it listens, and gives it a moment to read that.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, refusal: &Refusal) {
    let mut answer = Vec::new();
    server::refuse(refusal, &mut answer);
    let tell = async {
        write(io, &answer).await?;
        io.shutdown().await?;
        // A transport closed with unread octets is reset, and the answer is lost with it.
        let mut rest = [0; 1 << 10];
        while io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, tell).await; // it is refused whether it hears so or not
}

/// How long a client that is refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);
