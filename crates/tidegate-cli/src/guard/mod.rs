//! `tidegate guard`: a gateway that protects any WebSocket server behind it. Puts workers, control plane and
//! signals together, and takes them down again.

mod admin;
mod args;
mod audit;
pub(crate) mod evidence;
mod gate;
mod keys;
mod listener;
mod orders;
mod plane;
mod proxy;
pub(crate) mod serving;
mod settings;

pub(crate) use args::{EXAMPLES, GuardArgs};

use crate::admission::Admission;
use crate::control::admin::{Access, Bound, ServerState, bind};
use crate::control::{self, Process};
use crate::error::Failure;
use crate::hosts::Hosts;
use crate::leaving::Pace;
use crate::serve::{bind_failure, cannot_listen, local_url};
use crate::signals::Wanted;
use crate::{logs, service, signals};
use admin::Admin;
use evidence::{Evidence, Writing};
use gate::{Gate, Tally};
use keys::Keys;
use orders::Orders;
use plane::{InForce, Parts, Plane};
use settings::Settings;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use tidegate::engine::{Running, Server};
use tidegate_guard::behaviour::Behaviours;
use tidegate_guard::{RelayCounts, RelayMail, RelaySettings, Witness, door};
use tidegate_proto::{EndpointConfig, HeadLimits, OriginPolicy};
use tracing::{info, warn};

/// Guards until a signal says stop and the clients are gone, or the drain is over.
///
/// # Errors
/// What keeps it from serving, in one line.
pub(crate) fn run(args: &GuardArgs) -> Result<(), Failure> {
    if let Some(aside) = &args.aside {
        return aside.run();
    }
    let settings = Settings::load(args)?;
    if args.check_config {
        let file = args
            .policy
            .as_deref()
            .map(|file| file.display().to_string());
        let name = file.as_deref().unwrap_or("policy");
        // Whoever closed stdout does not want the line.
        let _ = writeln!(io::stdout().lock(), "{name}: fine");
        return Ok(());
    }
    logs::start(settings.log_format, &settings.log)?;
    let wanted = signals::watch()
        .map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    let guard = Guarding::start(args, &settings)?;
    service::ready();
    // An error would mean that no signal can come any more; then it is time to go, too.
    while let Ok(Wanted::Reload) = wanted.recv() {
        guard.plane.reload();
    }
    guard.finish(&settings)
}

/// All that runs.
struct Guarding {
    running: Running<RelayMail>,
    plane: Plane,
    state: Arc<ServerState>,
    evidence: Arc<Evidence>,
    writing: Writing,
}

/// What all workers share.
struct Shared {
    in_force: Arc<InForce>,
    admission: Arc<Admission>,
    tally: Arc<Tally>,
    relays: Vec<Arc<RelayCounts>>,
    door: door::Shared,
    witness: Witness,
}

impl Guarding {
    fn start(args: &GuardArgs, settings: &Settings) -> Result<Guarding, Failure> {
        let upstream = settings.target.look_up().unwrap_or_else(|error| {
            warn!(host = settings.target.host, %error, "the upstream's name is not found; clients get 502 until it is");
            settings.target.at(Vec::new())
        });
        let relay = RelaySettings::new(Arc::clone(&settings.policy), upstream);
        let keys = Arc::new(Keys::new(keys::read(
            &settings.policy,
            args.policy.as_deref(),
        )?));
        let unwritten: Arc<AtomicBool> = Arc::default();
        let file = settings.audit.as_deref();
        let (evidence, writing) = Evidence::start(file, Arc::clone(&unwritten))?;
        let shared = Shared {
            door: door::Shared {
                verifier: keys.verifier(),
                tickets: Arc::default(),
                crowd: Arc::default(),
                unwritten,
                behaviours: Arc::new(Behaviours::new(key()?)),
            },
            witness: evidence.witness(),
            in_force: Arc::new(InForce::new(Arc::new(relay))),
            admission: Arc::new(Admission::new()),
            tally: Arc::default(),
            relays: (0..settings.workers).map(|_| Arc::default()).collect(),
        };
        let (door, arrivals) = control::door();
        let running = start_workers(settings, &shared, door)?;
        let bound = match settings.admin {
            Some(listen) => Some(bind(listen).map_err(|error| bind_failure(listen, &error))?),
            None => None,
        };
        let state = Arc::new(ServerState::default());
        let address = bound.as_ref().map(|bound: &Bound| bound.address);
        let ip = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |at| at.ip());
        let admin = Arc::new(Admin {
            access: Access::new(Hosts::new(ip, &[]), false, settings.admin_token.clone()),
            state: Arc::clone(&state),
            process: Process::new(),
            tally: shared.tally,
            relays: shared.relays,
            evidence: Arc::clone(&evidence),
            orders: Orders {
                in_force: Arc::clone(&shared.in_force),
                mailer: running.mailer(),
                shared: shared.door,
                witness: Arc::clone(&shared.witness),
                revocations: Mutex::default(),
                changes: OnceLock::new(),
            },
        });
        let plane = Plane::start(Parts {
            args: args.clone(),
            target: settings.target.clone(),
            in_force: shared.in_force,
            mailer: running.mailer(),
            arrivals,
            adopter: running.adopter(),
            tls: settings.tls.clone(),
            upstream_tls: settings.upstream_tls.clone(),
            admin: bound.map(|bound| (bound, admin)),
            state: Arc::clone(&state),
            drain: settings.drain,
            keys,
            witness: shared.witness,
        })
        .map_err(|error| Failure::failed(format!("the control plane cannot start: {error}")))?;
        if let Some(address) = address {
            info!(%address, "admin listener");
        }
        announce(settings, &running);
        Ok(Guarding {
            running,
            plane,
            state,
            evidence,
            writing,
        })
    }

    /// Waits for the clients to leave or the drain to be over.
    fn finish(self, settings: &Settings) -> Result<(), Failure> {
        let seconds = settings.drain.as_secs();
        info!(seconds, "draining; a second signal ends at once");
        service::stopping();
        self.state.drain();
        self.running.drain(settings.drain);
        self.plane.stop();
        self.running
            .join()
            .map_err(|error| Failure::failed(error.to_string()))?;
        let controlled = self.plane.join();
        self.evidence.stop();
        self.writing.join();
        if !controlled {
            return Err(Failure::failed(
                "the control plane has panicked; its message stands above",
            ));
        }
        info!("stopped");
        Ok(())
    }
}

/// What nobody can foresee.
fn key() -> Result<u128, Failure> {
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::failed(format!("the system gives no random octets: {error}")))?;
    Ok(u128::from_ne_bytes(key))
}

fn start_workers(
    settings: &Settings,
    shared: &Shared,
    door: control::Door,
) -> Result<Running<RelayMail>, Failure> {
    let endpoint = EndpointConfig {
        head: HeadLimits::default(),
        // The policy judges the Origin, route by route.
        origins: OriginPolicy::Any,
    };
    let mut server = Server::builder()
        .listen(settings.listen)
        .workers(settings.workers)
        .endpoint(endpoint)
        .plain_http(move |plain| door.admit(plain));
    if let Some(tls) = &settings.tls {
        server = server.tls(Arc::clone(&tls.config));
    }
    if let Some(tls) = &settings.upstream_tls {
        server = server.upstream_tls(Arc::clone(tls));
    }
    let in_force = Arc::clone(&shared.in_force);
    let (admission, tally) = (Arc::clone(&shared.admission), Arc::clone(&shared.tally));
    let relays = shared.relays.clone();
    let workers = u32::try_from(settings.workers).unwrap_or(u32::MAX);
    let pace = Pace::usual(settings.drain).share(workers);
    let (inside, witness) = (shared.door.clone(), Arc::clone(&shared.witness));
    let gate = move |worker: tidegate_proto::WorkerId| {
        let counts = Arc::clone(&relays[usize::from(worker.0)]);
        let (admission, tally) = (Arc::clone(&admission), Arc::clone(&tally));
        let told = (inside.clone(), Arc::clone(&witness));
        Gate::new(in_force.get(), counts, admission, tally, pace, told)
    };
    server
        .start(gate)
        .map_err(|error| cannot_listen(settings.listen, &error))
}

/// The one line of stdout.
fn announce(settings: &Settings, running: &Running<RelayMail>) {
    let url = local_url(running.local_addr(), settings.tls.is_some());
    let mut stdout = io::stdout().lock();
    // Whoever closed stdout does not want the line.
    let _ = writeln!(stdout, "Tidegate is on guard: {url}").and_then(|()| stdout.flush());
}
