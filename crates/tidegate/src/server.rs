//! The server's side of one connection: reads the opening handshake from any transport, judges it and
//! answers it. It never listens, and never speaks other HTTP than refusals.

use crate::{Drain, WebSocket};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::handshake::{BadField, HeadScan, Refusal, server};
use tidegate_proto::{Config, HeadLimits, OriginPolicy, Request, Role, deflate};
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
    pub(crate) config: Arc<Config>,
    pub(crate) head: HeadLimits,
    pub(crate) origins: OriginPolicy,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) needs_subprotocol: bool,
    pub(crate) secure: bool,
    pub(crate) drain: Option<Drain>,
}

impl Acceptor {
    /// The defaults: [`Config::default`], [`HeadLimits::default`], same origin, no subprotocol.
    pub fn new() -> Acceptor {
        Acceptor {
            config: Arc::default(),
            head: HeadLimits::default(),
            origins: OriginPolicy::SameOrigin,
            subprotocols: Vec::new(),
            needs_subprotocol: false,
            secure: false,
            drain: None,
        }
    }

    /// Limits, timeouts and compression of the connections. A client's offer of permessage-deflate is taken
    /// when [`Config::deflate`] is not off, and as far as it allows.
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

    /// Refuses clients that offer none of the subprotocols with 400, instead of going on without one.
    #[must_use]
    pub fn require_subprotocol(mut self) -> Acceptor {
        self.needs_subprotocol = true;
        self
    }

    /// Registers each connection with `drain`, and refuses new ones with 503 once it closes.
    #[must_use]
    pub fn drain(mut self, drain: &Drain) -> Acceptor {
        self.drain = Some(drain.clone());
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
        // Boxed: what the handshake needs is not kept in the task for as long as the connection lives.
        Box::pin(async move { self.receive(io).await?.accept().await }).await
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
            let subprotocol = self.judge(&request)?;
            Ok((request, early, subprotocol))
        });
        match checked {
            Ok((request, early, subprotocol)) => Ok(Opening {
                io,
                subprotocol,
                request,
                early,
                headers: Vec::new(),
                config: self.config.clone(),
                timeout: self.head.timeout,
                drain: self.drain.clone(),
            }),
            Err(refusal) => {
                refuse(&mut io, &refusal).await;
                Err(AcceptError::Refused(refusal))
            }
        }
    }

    /// What holds for every request, however it came: who may connect, and the subprotocol chosen.
    pub(crate) fn judge(&self, request: &Request) -> Result<Option<String>, Refusal> {
        if self.drain.as_ref().is_some_and(Drain::is_closing) {
            let refusal = Refusal::new(503, "the server is shutting down: try again soon");
            return Err(refusal
                .with_header("Retry-After", "5")
                .expect("it can be sent"));
        }
        self.origins.check(request)?;
        let subprotocol = self.choose(request);
        if self.needs_subprotocol && subprotocol.is_none() {
            return Err(Refusal::new(
                400,
                format!(
                    "offer a subprotocol that is spoken here: {}",
                    self.subprotocols.join(", ")
                ),
            ));
        }
        Ok(subprotocol)
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
    headers: Vec<(String, String)>,
    config: Arc<Config>,
    timeout: Duration,
    drain: Option<Drain>,
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

    /// The transport, say to ask for the client's address or certificate.
    pub fn transport(&self) -> &S {
        &self.io
    }

    /// Limits, timeouts and compression of this connection, instead of the acceptor's.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Opening<S> {
        self.config = config.into();
        self
    }

    /// Chooses the subprotocol by other rules than the acceptor's, say by path; one that was not offered counts
    /// as none.
    #[must_use]
    pub fn choose(mut self, subprotocol: Option<&str>) -> Opening<S> {
        let offered = |name: &&str| self.request.subprotocols().any(|offer| offer == *name);
        self.subprotocol = subprotocol.filter(offered).map(str::to_owned);
        self
    }

    /// Adds a header field to the answer, say `Set-Cookie`.
    ///
    /// # Errors
    /// [`BadField`] when it can't be sent: a value with CR or LF in it, or a field of the handshake itself.
    pub fn header(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Opening<S>, BadField> {
        let (name, value) = (name.into(), value.into());
        check_header(&name, &value)?;
        self.headers.push((name, value));
        Ok(self)
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
        let agreed = agree(&self.request, &self.config);
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let response = server::Response {
            subprotocol: self.subprotocol.as_deref(),
            extensions: agreed.as_ref().map(|agreed| agreed.header.as_str()),
            headers: &headers,
        };
        let mut answer = Vec::new();
        response
            .write(&self.request, &mut answer)
            .expect("all of it was offered or checked before");
        let write = write(&mut self.io, &answer);
        timeout(self.timeout, write)
            .await
            .map_err(|_| AcceptError::Timeout)??;
        let agreed = Agreed {
            subprotocol: self.subprotocol,
            deflate: agreed.map(|agreed| agreed.negotiated),
        };
        Ok(agreed.open(self.io, self.config, &self.early, self.drain.as_ref()))
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

/// What both sides of a handshake hold for agreed.
pub(crate) struct Agreed {
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<deflate::Negotiated>,
}

impl Agreed {
    /// The WebSocket, once the client has its answer.
    pub(crate) fn open<S>(
        self,
        io: S,
        config: Arc<Config>,
        early: &[u8],
        drain: Option<&Drain>,
    ) -> WebSocket<S> {
        let mut ws = WebSocket::from_upgraded(io, Role::Server, config, early)
            .with_subprotocol(self.subprotocol);
        if let Some(deflate) = self.deflate {
            ws = ws.with_deflate(deflate);
        }
        match drain {
            Some(drain) => ws.watch(drain),
            None => ws,
        }
    }
}

/// The compression to answer with, if the client offers some that we can take.
pub(crate) fn agree(request: &Request, config: &Config) -> Option<deflate::Accepted> {
    let user_agent = request.header_str("user-agent");
    deflate::accept(&request.offers(), &config.deflate, user_agent)
}

/// A field that an answer may carry beside those of the handshake.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), BadField> {
    const OWN: [&str; 6] = [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "content-length",
    ];
    let own = OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
    match own {
        true => Err(BadField {
            name: name.to_owned(),
        }),
        false => BadField::check(name, value),
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
pub(crate) fn not_a_websocket() -> Refusal {
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
