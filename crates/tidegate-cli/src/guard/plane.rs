//! The guard's control plane: a thread with a runtime for ordinary HTTP, the admin listener, the upstream's
//! addresses and reloads. It reaches the workers by mail only.

use super::admin::Admin;
use super::args::GuardArgs;
use super::keys::{self, Keys};
use super::listener::Listener;
use super::proxy::Proxy;
use super::settings::{Target, asked_for};
use crate::control::admin::{self, Bound, ServerState};
use crate::control::{Arrivals, connection, http2};
use crate::error::Failure;
use rustls::ClientConfig;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidegate::engine::{Adopter, Mailer};
use tidegate_guard::audit::{Event, What};
use tidegate_guard::{RelayMail, RelaySettings, Upstream, Witness};
use tidegate_proto::WorkerId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

/// The settings that hold now.
pub(super) struct InForce(RwLock<Arc<RelaySettings>>);

impl InForce {
    pub(super) fn new(settings: Arc<RelaySettings>) -> InForce {
        InForce(RwLock::new(settings))
    }

    pub(super) fn get(&self) -> Arc<RelaySettings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, settings: Arc<RelaySettings>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

/// What the control plane runs on.
pub(super) struct Parts {
    pub(super) args: GuardArgs,
    pub(super) target: Target,
    pub(super) in_force: Arc<InForce>,
    pub(super) mailer: Mailer<RelayMail>,
    pub(super) arrivals: Arrivals,
    pub(super) adopter: Adopter,
    pub(super) tls: Option<Listener>,
    pub(super) upstream_tls: Option<Arc<ClientConfig>>,
    pub(super) admin: Option<(Bound, Arc<Admin>)>,
    pub(super) state: Arc<ServerState>,
    pub(super) drain: Duration,
    pub(super) keys: Arc<Keys>,
    pub(super) witness: Witness,
}

/// The running control plane.
pub(super) struct Plane {
    stop: watch::Sender<bool>,
    end: watch::Sender<bool>,
    reload: mpsc::UnboundedSender<()>,
    thread: JoinHandle<()>,
}

impl Plane {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(super) fn start(parts: Parts) -> io::Result<Plane> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let (reload, reloads) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                runtime.block_on(run(parts, reloads, stopped, ended));
                // A look-up of the system's resolver may still be under way.
                runtime.shutdown_background();
            })?;
        Ok(Plane {
            stop,
            end,
            reload,
            thread,
        })
    }

    /// Reads the policy again, soon.
    pub(super) fn reload(&self) {
        let _ = self.reload.send(()); // that it has panicked is told at the end
    }

    /// Requests under way are answered, idle connections closed; the admin listener stays until
    /// [`Plane::join`].
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has stopped; `false` if it panicked.
    pub(super) fn join(self) -> bool {
        self.end.send_replace(true);
        self.thread.join().is_ok()
    }
}

async fn run(
    mut parts: Parts,
    reloads: mpsc::UnboundedReceiver<()>,
    mut stopped: watch::Receiver<bool>,
    mut ended: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&parts.keys).run());
    let changes = Arc::new(Changes {
        args: parts.args,
        target: parts.target,
        in_force: Arc::clone(&parts.in_force),
        mailer: parts.mailer,
        state: parts.state,
        keys: parts.keys,
        tls: parts.tls,
        witness: parts.witness,
        one_at_a_time: tokio::sync::Mutex::new(()),
    });
    if let Some((bound, admin)) = parts.admin.take() {
        let _ = admin.orders.changes.set(Arc::clone(&changes)); // this is the only place
        tasks.spawn(admin::serve(bound, admin, ended.clone()));
    }
    tasks.spawn(changes.run(reloads));
    let (mut arrivals, mut connections) = (parts.arrivals, JoinSet::new());
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            arrived = arrivals.next(), if room => match arrived {
                Some(plain) if plain.is_http2() => {
                    debug!(remote = %plain.remote, "HTTP/2 is not spoken; refused");
                    connections.spawn(http2::refuse(plain.io));
                }
                Some(plain) => {
                    let proxy = Arc::new(Proxy {
                        in_force: Arc::clone(&parts.in_force),
                        tls: parts.upstream_tls.clone(),
                        remote: plain.remote,
                        secure: plain.secure,
                        certificate: plain.io.client_certificate().map(Into::into),
                    });
                    let (adopter, stopped) = (parts.adopter.clone(), stopped.clone());
                    connections.spawn(connection::serve(plain, proxy, adopter, stopped));
                }
                None => break,
            },
        }
    }
    drop(arrivals);
    // What is left at the deadline is dropped, and with it closed.
    let _ = timeout(parts.drain, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    // The sender is gone only with the main thread.
    let _ = ended.wait_for(|end| *end).await;
    tasks.abort_all();
}

/// Keeps the settings up to date: the policy by order, the upstream's addresses by the clock.
pub(super) struct Changes {
    args: GuardArgs,
    target: Target,
    in_force: Arc<InForce>,
    mailer: Mailer<RelayMail>,
    state: Arc<ServerState>,
    keys: Arc<Keys>,
    tls: Option<Listener>,
    witness: Witness,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Changes {
    async fn run(self: Arc<Changes>, mut reloads: mpsc::UnboundedReceiver<()>) {
        loop {
            tokio::select! {
                order = reloads.recv() => match order {
                    Some(()) => drop(self.reload().await),
                    None => return,
                },
                () = sleep(LOOK_UP_EVERY), if !self.target.is_address() => self.look_up().await,
            }
        }
    }

    /// Reads the policy, the keys it names and the files of TLS again; if one is wrong, nothing changes.
    pub(super) async fn reload(&self) -> Result<(), Failure> {
        let _alone = self.one_at_a_time.lock().await;
        let file = self.args.policy.as_deref();
        let read = asked_for(&self.args).and_then(|policy| {
            let ring = keys::read(&policy, file)?;
            Ok((policy, ring, Listener::read(&self.args)?))
        });
        self.state.reloaded(read.is_ok());
        (self.witness)(Event {
            at: super::evidence::now(),
            connection: 0,
            what: What::Reload {
                taken: read.is_ok(),
            },
        });
        match read {
            Ok((policy, ring, listener)) => {
                if let (Some(now), Some(new)) = (&self.tls, &listener) {
                    now.set(new);
                }
                let upstream = self.in_force.get().upstream.clone();
                self.keys.set(ring);
                self.tell(RelaySettings::new(policy, upstream)).await;
                info!("policy reloaded");
                Ok(())
            }
            Err(failure) => {
                error!(
                    error = failure.line,
                    "policy not reloaded; the old one stays in force"
                );
                Err(failure)
            }
        }
    }

    /// Looks the upstream's name up again. A name that cannot be found now keeps its old addresses.
    async fn look_up(&self) {
        let target = self.target.clone();
        let found = tokio::task::spawn_blocking(move || target.look_up()).await;
        let now = self.in_force.get();
        match found {
            Ok(Ok(upstream)) if upstream != now.upstream => {
                info!(addresses = ?upstream.addresses, "the upstream has moved");
                let policy = Arc::clone(&now.policy);
                self.tell(RelaySettings::new(policy, upstream)).await;
            }
            Ok(Ok(Upstream { .. })) => {}
            Ok(Err(error)) => {
                warn!(host = self.target.host, %error, "the upstream's name is not found; its old addresses stay")
            }
            Err(_) => {}
        }
    }

    async fn tell(&self, settings: RelaySettings) {
        let settings = Arc::new(settings);
        self.in_force.set(Arc::clone(&settings));
        for worker in 0..self.mailer.workers() {
            let worker = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
            let mail = || RelayMail::Settings(Arc::clone(&settings));
            for _ in 0..ATTEMPTS {
                if self.mailer.post(worker, mail()).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(100)).await; // its mailbox is full
            }
        }
    }
}

/// HTTP connections served at once; more wait in the door.
const MAX_CONNECTIONS: usize = 512;
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 100;
