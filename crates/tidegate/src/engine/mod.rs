//! The server's engine: one event loop per worker thread, each driving an [`Endpoint`]. It accepts, reads,
//! writes, sleeps and carries mail; what the octets mean is the endpoint's matter.

mod accept;
mod adopt;
mod bridge;
mod clock;
mod conn;
mod control;
mod dial;
mod echo;
mod listener;
mod mailbox;
mod plain;
mod receive;
mod session;
mod transmit;
mod worker;

pub use adopt::Adopter;
pub use bridge::{Bridge, BridgeFull, Bridged};
pub use echo::Echo;
pub use mailbox::Mailer;
pub use plain::{PlainHttp, PlainIo};

use crate::OsRandom;
use crate::error::JoinError;
use accept::Gate;
use adopt::Adoptions;
use bridge::Bridges;
use clock::Clock;
use control::{Control, GivePlainHttp, Shared};
use mailbox::{Mailbox, PostOffice};
use mio::net::TcpListener;
use mio::{Poll, Waker};
use rustls::{ClientConfig, ServerConfig};
use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tidegate_proto::{Endpoint, EndpointConfig, Handler, WorkerId};
use worker::{WAKER, Worker};

/// A WebSocket server: a [`Handler`] per worker thread. See [`Server::builder`] and the crate's example.
pub struct Server<H>(PhantomData<fn() -> H>);

impl<H: Handler + 'static> Server<H>
where
    H::Mail: 'static,
{
    /// A server to be set up: `127.0.0.1:8000`, a worker per core, no TLS.
    pub fn builder() -> ServerBuilder<H> {
        ServerBuilder {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            workers: thread::available_parallelism().map_or(1, usize::from),
            mailbox: 65_536,
            tls: None,
            upstream_tls: None,
            endpoint: EndpointConfig::default(),
            plain_http: None,
            handler: PhantomData,
        }
    }
}

/// Settings of a [`Server`] that has not started.
pub struct ServerBuilder<H> {
    addr: SocketAddr,
    workers: usize,
    mailbox: usize,
    tls: Option<Arc<ServerConfig>>,
    upstream_tls: Option<Arc<ClientConfig>>,
    endpoint: EndpointConfig,
    plain_http: Option<GivePlainHttp>,
    handler: PhantomData<fn() -> H>,
}

impl<H: Handler + 'static> ServerBuilder<H>
where
    H::Mail: 'static,
{
    /// Where to listen. Port 0 takes a free one; [`Running::local_addr`] tells which. Default:
    /// `127.0.0.1:8000`.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// How many workers, from 1 to 65,535; other numbers count as the nearest of these. Default: one per
    /// core. Cost: a thread and 64 KiB each.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.clamp(1, usize::from(u16::MAX));
        self
    }

    /// How many messages may wait for a worker; more are refused with [`tidegate_proto::MailboxFull`].
    /// Default: 65,536. Cost: the size of `H::Mail` for each message that waits.
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    /// Speak TLS, and only TLS, on this port; see [`crate::tls`]. A client that speaks plain HTTP gets one
    /// line that says so. Default: no TLS. Cost: rustls' state for each connection, and 64 KiB a worker.
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// How upstreams are called that want TLS ([`tidegate_proto::Dial::server_name`]): whom to trust, who we
    /// are. Give `alpn_protocols` as `http/1.1` or not at all; `Tls::client_config` gives such. Default: none,
    /// and such calls fail. Cost: rustls' state for each upstream, and 64 KiB a worker.
    pub fn upstream_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.upstream_tls = Some(config);
        self
    }

    /// Limits of request heads, and which Origins are let in.
    pub fn endpoint(mut self, config: EndpointConfig) -> Self {
        self.endpoint = config;
        self
    }

    /// Who takes connections whose first request asks for no WebSocket. It is called on a worker's thread
    /// and must not block: send the connection to a runtime. Should one ask for a WebSocket later, give it
    /// back with [`Running::adopter`]. Default: nobody, and they are closed.
    pub fn plain_http(mut self, give: impl Fn(PlainHttp) + Send + Sync + 'static) -> Self {
        self.plain_http = Some(Box::new(give));
        self
    }

    /// Binds, then starts the workers' threads. `handler` is called once on each of them, so a handler need
    /// not be `Send`. It also raises the process's soft limit of open files to the hard one.
    ///
    /// # Errors
    /// `AddrInUse` when the port is taken, what else binding says, or a thread that could not be started.
    pub fn start<F>(self, handler: F) -> io::Result<Running<H::Mail>>
    where
        F: Fn(WorkerId) -> H + Send + Sync + 'static,
    {
        let open_files = listener::raise_open_files();
        let (local_addr, listeners) = listener::listen(self.addr, self.workers)?;
        tracing::debug!(%local_addr, workers = self.workers, ?open_files, "listening");
        let polls = (0..self.workers)
            .map(|_| Poll::new())
            .collect::<io::Result<Vec<_>>>()?;
        let boxes = mailboxes(&polls, self.mailbox)?;
        let shared = Arc::new(Shared {
            tls: self.tls,
            upstream_tls: self.upstream_tls,
            plain_http: self.plain_http,
            adoptions: Arc::new(Adoptions::new(self.workers, wake_one(&boxes))),
            bridges: Arc::new(Bridges::new(self.workers, wake_one(&boxes))),
            control: Control::new(self.workers, wake_all(&boxes)),
        });
        let mut running = Running {
            local_addr,
            mailer: Mailer::new(Arc::clone(&boxes)),
            shared: Arc::clone(&shared),
            threads: Vec::with_capacity(self.workers),
        };
        let (handler, clock) = (Arc::new(handler), Clock::start());
        for (n, (poll, listener)) in polls.into_iter().zip(listeners).enumerate() {
            let seat = Seat {
                id: WorkerId(n as u16), // `workers` saw to it that it fits
                poll,
                listener,
                boxes: Arc::clone(&boxes),
                shared: Arc::clone(&shared),
                clock,
                endpoint: self.endpoint.clone(),
            };
            match spawn(seat, Arc::clone(&handler)) {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.drain(Duration::ZERO);
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

/// A server at work. Dropping this lets it run on until the process ends.
pub struct Running<M> {
    local_addr: SocketAddr,
    mailer: Mailer<M>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl<M> Running<M> {
    /// Where it listens, with the port the system chose if none was given.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Posts mail to the workers.
    pub fn mailer(&self) -> Mailer<M> {
        self.mailer.clone()
    }

    /// Takes connections back that [`ServerBuilder::plain_http`] has given away.
    pub fn adopter(&self) -> Adopter {
        Adopter::new(
            Arc::clone(&self.shared.adoptions),
            Arc::clone(&self.shared.bridges),
        )
    }

    /// Makes peers of WebSockets that an HTTP server holds, say streams of an HTTP/2 connection.
    pub fn bridge(&self) -> Bridge {
        Bridge::new(Arc::clone(&self.shared.bridges))
    }

    /// Ends the server in order: who waits in the backlog is accepted, then nobody else;
    /// [`Handler::drain`] is called for each open peer; connections still left after `deadline` are
    /// dropped. Returns at once; [`Running::join`] waits. Called again it can only shorten the deadline.
    pub fn drain(&self, deadline: Duration) {
        let now = Instant::now();
        let far = Duration::from_secs(86_400 * 365);
        self.shared.control.drain(now + deadline.min(far));
    }

    /// Waits until all workers have ended: after [`Running::drain`], or because they died.
    ///
    /// # Errors
    /// [`JoinError`] names the workers that panicked or whose event queue failed.
    pub fn join(self) -> Result<(), JoinError> {
        let mut died = Vec::new();
        for (n, thread) in self.threads.into_iter().enumerate() {
            let result = thread
                .join()
                .unwrap_or_else(|panic| Err(message_of(&*panic)));
            if let Err(cause) = result {
                died.push((WorkerId(n as u16), cause));
            }
        }
        if died.is_empty() {
            Ok(())
        } else {
            Err(JoinError { died })
        }
    }
}

impl<M> std::fmt::Debug for Running<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("local_addr", &self.local_addr)
            .field("workers", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// What a worker's thread starts with.
struct Seat<M> {
    id: WorkerId,
    poll: Poll,
    listener: TcpListener,
    boxes: Arc<[Mailbox<M>]>,
    shared: Arc<Shared>,
    clock: Clock,
    endpoint: EndpointConfig,
}

fn mailboxes<M>(polls: &[Poll], capacity: usize) -> io::Result<Arc<[Mailbox<M>]>> {
    polls
        .iter()
        .map(|poll| Ok(Mailbox::new(capacity, Waker::new(poll.registry(), WAKER)?)))
        .collect()
}

fn wake_all<M: Send + 'static>(boxes: &Arc<[Mailbox<M>]>) -> Box<dyn Fn() + Send + Sync> {
    let boxes = Arc::clone(boxes);
    Box::new(move || boxes.iter().for_each(Mailbox::wake))
}

fn wake_one<M: Send + 'static>(boxes: &Arc<[Mailbox<M>]>) -> Box<dyn Fn(WorkerId) + Send + Sync> {
    let boxes = Arc::clone(boxes);
    Box::new(move |worker| boxes[usize::from(worker.0)].wake())
}

fn spawn<H, F>(seat: Seat<H::Mail>, handler: Arc<F>) -> io::Result<JoinHandle<Result<(), String>>>
where
    H: Handler + 'static,
    H::Mail: 'static,
    F: Fn(WorkerId) -> H + Send + Sync + 'static,
{
    let name = format!("tidegate-{}", seat.id);
    thread::Builder::new().name(name).spawn(move || {
        let (id, boxes, shared) = (seat.id, Arc::clone(&seat.boxes), Arc::clone(&seat.shared));
        // Nothing of the worker outlives its panic but its mailbox, which is fit for that.
        let result = catch_unwind(AssertUnwindSafe(|| work(seat, &*handler)));
        boxes[usize::from(id.0)].close();
        shared.adoptions.close(id);
        shared.bridges.close(id);
        shared.control.drained(id);
        let result = match result {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(panic) => Err(message_of(&*panic)),
        };
        if let Err(cause) = &result {
            tracing::error!(worker = id.0, %cause, "a worker died; its connections are gone, the others go on");
        }
        result
    })
}

fn work<H: Handler>(seat: Seat<H::Mail>, handler: &impl Fn(WorkerId) -> H) -> io::Result<()> {
    let gate = Gate::new(seat.listener, seat.poll.registry())?;
    let workers = seat.boxes.len();
    let random = Box::new(OsRandom::new());
    let now = seat.clock.now();
    let endpoint = Endpoint::new(
        seat.id,
        workers,
        seat.endpoint,
        random,
        now,
        handler(seat.id),
    );
    let post = PostOffice::new(seat.id, seat.boxes);
    Worker::new(
        seat.id,
        endpoint,
        post,
        seat.shared,
        seat.clock,
        seat.poll,
        gate,
    )
    .run()
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without a message".to_owned())
}
