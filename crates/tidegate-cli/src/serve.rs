//! `tidegate serve`: puts workers, control plane and signals together, and takes them down again.

use crate::cli::ServeArgs;
use crate::control::admin::{self, Access, Admin, Bound, Monitor, ServerState};
use crate::control::api::{self, Api};
use crate::control::keyring::Keyring;
use crate::control::reload::{InForce, Reloader, Started};
use crate::control::{self, Channels, Control, Names, Parts, Process, Site};
use crate::error::{Exit, Failure};
use crate::guard::evidence::Evidence;
use crate::guard::serving::Serving;
use crate::hosts::Hosts;
use crate::routes::{Routes, RoutesMail, Shared};
use crate::settings::{AdminListen, Settings, name_of};
use crate::signals::Wanted;
use crate::tls::Certificates;
use crate::{logs, service, signals};
use rustls::ServerConfig;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use tidegate::engine::{Running, Server};
use tidegate_guard::{Witness, door};
use tidegate_hub::{Hub, HubConfig};
use tidegate_proto::{EndpointConfig, HeadLimits, OriginPolicy};
use tracing::{info, warn};

/// Serves until a signal says stop and the clients are gone, or the drain is over.
///
/// # Errors
/// What keeps it from serving, in one line.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let settings = Settings::load(args)?;
    if args.check_config {
        let mut stdout = io::stdout().lock();
        // Whoever closed stdout does not want the line.
        let _ = writeln!(stdout, "{}: fine", name_of(settings.config_file.as_deref()));
        return Ok(());
    }
    let log = logs::start(settings.log_format, &settings.live.log)?;
    let wanted = signals::watch()
        .map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    let keyring = Arc::new(Keyring::new(
        settings.live.hub.clone(),
        settings.live.jwks.clone(),
    ));
    let (tls, certificates) = settings
        .live
        .tls
        .as_deref()
        .map(Certificates::changeable)
        .unzip();
    let shared = Shared::new(settings.workers);
    let (door, arrivals) = control::door();
    let guard = guard(&settings, args)?;
    let parts = guard.as_ref().map(Serving::parts);
    let running = start_workers(&settings, tls, &shared, &keyring.config(), (door, parts))?;
    let admin = bind_admin(&settings)?;
    let plane = Plane {
        args,
        guard: guard.as_ref().map(Serving::evidence),
        settings: &settings,
        running: &running,
        keyring,
        certificates,
        shared,
        log,
    };
    let (control, reloader) = plane
        .start(arrivals, admin)
        .map_err(|error| Failure::failed(format!("the control plane cannot start: {error}")))?;
    announce(&settings, &reloader.started);
    service::ready();
    obey(&wanted, &control);
    let finished = finish(&reloader, running, control);
    guard.into_iter().for_each(Serving::finish);
    finished
}

/// What stands before the hub, if something was asked for.
fn guard(settings: &Settings, args: &ServeArgs) -> Result<Option<Serving>, Failure> {
    match (&settings.live.door.guard, &args.guard) {
        (Some(policy), Some(file)) => Serving::start(policy, file).map(Some),
        _ => Ok(None),
    }
}

fn start_workers(
    settings: &Settings,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
    config: &Arc<HubConfig>,
    (door, guard): (control::Door, Option<(door::Shared, Witness)>),
) -> Result<Running<RoutesMail>, Failure> {
    let (workers, listen, dev) = (settings.workers, settings.listen, settings.dev);
    let rules = Arc::clone(&settings.live.door);
    let (shared, config) = (shared.clone(), Arc::clone(config));
    let endpoint = EndpointConfig {
        head: HeadLimits::default(),
        // The routes check the Origin: their rules can be reloaded.
        origins: OriginPolicy::Any,
    };
    let mut server = Server::builder()
        .listen(listen)
        .workers(workers)
        .endpoint(endpoint)
        .plain_http(move |plain| door.admit(plain));
    if let Some(tls) = tls {
        server = server.tls(tls);
    }
    server
        .start(move |worker| {
            Routes::new(
                Arc::clone(&rules),
                shared.clone(),
                Arc::clone(&config),
                worker,
                workers,
                dev,
                guard.clone(),
            )
        })
        .map_err(|error| cannot_listen(listen, &error))
}

fn bind_admin(settings: &Settings) -> Result<Option<Bound>, Failure> {
    let Some(listen) = settings.admin else {
        return Ok(None);
    };
    let bound = admin::bind(listen).map_err(|error| bind_failure(listen, &error))?;
    if listen.address.port() != 0 && bound.address.port() != listen.address.port() {
        warn!(wanted = %listen.address, address = %bound.address, "the admin listener's port is taken; it is at another");
    }
    Ok(Some(bound))
}

/// What the control plane is made of.
struct Plane<'a> {
    args: &'a ServeArgs,
    guard: Option<Arc<Evidence>>,
    settings: &'a Settings,
    running: &'a Running<RoutesMail>,
    keyring: Arc<Keyring>,
    certificates: Option<Arc<Certificates>>,
    shared: Shared,
    log: logs::LogFilter,
}

impl Plane<'_> {
    fn start(
        self,
        arrivals: control::Arrivals,
        bound: Option<Bound>,
    ) -> io::Result<(Control, Arc<Reloader>)> {
        let (settings, live) = (self.settings, &self.settings.live);
        let mailer = self.running.mailer();
        let post = {
            let mailer = mailer.clone();
            move |worker, mail| mailer.post(worker, RoutesMail::Hub(mail))
        };
        let hub = Hub::new(self.keyring.config(), mailer.workers(), post);
        let process = Arc::new(Process::new());
        let state = Arc::new(ServerState::default());
        let api = Arc::new(Api::new(hub.clone(), Arc::clone(&process)));
        let names = Arc::new(Names::new(live.door.hosts.clone()));
        let door = api::Door::new(Arc::clone(&api), live.api_keys.clone(), live.api_body);
        let door = Arc::new(door);
        let admin_address = bound.as_ref().map(|bound| bound.address);
        let admin_ip = admin_address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |at| at.ip());
        let access = Arc::new(Access::new(
            Hosts::new(admin_ip, &[]),
            settings.dev,
            live.admin_token.clone(),
        ));
        let counts = Arc::clone(&self.shared.counts);
        let monitor = Monitor::new(hub.clone(), counts, process, Arc::clone(&state));
        let monitor = Arc::new(monitor);
        let reloader = Arc::new(Reloader {
            args: self.args.clone(),
            started: Started {
                listen: settings.listen,
                address: self.running.local_addr(),
                admin: admin_address,
                workers: settings.workers,
                dev: settings.dev,
            },
            hub: hub.clone(),
            mailer,
            keyring: self.keyring,
            api: Arc::clone(&door),
            access: Arc::clone(&access),
            names: Arc::clone(&names),
            certificates: self.certificates,
            log: self.log,
            state,
            in_force: Mutex::new(InForce::of(live)),
            turn: tokio::sync::Mutex::default(),
        });
        let admin = Arc::new(Admin {
            access,
            monitor: Arc::clone(&monitor),
            api,
            hub: hub.clone(),
            guard: self.guard,
            reloader: Arc::clone(&reloader),
        });
        let control = Control::start(Parts {
            arrivals,
            site: Site {
                names,
                channels: Channels::new(hub),
                api: door,
                demo: settings.dev,
            },
            adopter: self.running.adopter(),
            admin: bound.map(|bound| (bound, admin)),
            reloader: Arc::clone(&reloader),
            monitor,
            market: settings.dev,
            feeds: settings.feeds.clone(),
            drain: live.drain,
        })?;
        Ok((control, reloader))
    }
}

/// Does what signals ask for, until they ask for the end.
fn obey(wanted: &Receiver<Wanted>, control: &Control) {
    // An error would mean that no signal can come any more; then it is time to go, too.
    while let Ok(Wanted::Reload) = wanted.recv() {
        control.reload();
    }
}

/// Waits for the clients to leave or the drain to be over.
fn finish(
    reloader: &Reloader,
    running: Running<RoutesMail>,
    control: Control,
) -> Result<(), Failure> {
    let drain = reloader.drain();
    // Before it is said: whoever reads that we drain and asks then must hear the same from `/readyz`.
    reloader.state.drain();
    info!(
        seconds = drain.as_secs(),
        "draining; a second signal ends at once"
    );
    service::stopping();
    running.drain(drain);
    control.stop();
    running
        .join()
        .map_err(|error| Failure::failed(error.to_string()))?;
    if !control.join() {
        return Err(Failure::failed(
            "the control plane has panicked; its message stands above",
        ));
    }
    info!("stopped");
    Ok(())
}

/// Why the admin listener cannot listen.
pub(crate) fn bind_failure(listen: AdminListen, error: &io::Error) -> Failure {
    let failure = cannot_listen(listen.address, error);
    Failure {
        line: format!(
            "admin listener: {}",
            failure.line.replace("--listen", "--admin")
        ),
        ..failure
    }
}

/// Why nothing can listen at an address, and a way out.
pub(crate) fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => Failure {
            exit: Exit::PortTaken,
            line: format!(
                "port {port} of {} is taken; stop who has it, or choose another with --listen {}",
                address.ip(),
                SocketAddr::new(address.ip(), if port == u16::MAX { 0 } else { port + 1 }),
            ),
        },
        ErrorKind::PermissionDenied => Failure::failed(format!(
            "{address}: not permitted; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        )),
        ErrorKind::AddrNotAvailable => Failure::failed(format!(
            "{address}: this machine does not have that address"
        )),
        _ => Failure::failed(format!("{address}: cannot listen: {error}")),
    }
}

/// What development mode means on stderr, then the one line of stdout.
fn announce(settings: &Settings, started: &Started) {
    let address = started.address;
    if settings.dev {
        logs::notice(settings.log_format, &DEVELOPMENT_MODE);
    }
    if !address.ip().is_loopback() && settings.live.tls.is_none() {
        warn!("others can reach {address} and read everything: there is no TLS");
    }
    if let Some(admin) = started.admin {
        info!(address = %admin, "admin listener");
    }
    let url = local_url(address, settings.live.tls.is_some());
    let mut stdout = io::stdout().lock();
    // Whoever closed stdout does not want the line.
    let _ = writeln!(stdout, "Tidegate is live: {url}").and_then(|()| stdout.flush());
}

/// What to open in a browser on this machine.
pub(crate) fn local_url(address: SocketAddr, secure: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}/", SocketAddr::new(ip, address.port()))
}

const DEVELOPMENT_MODE: [&str; 3] = [
    "DEVELOPMENT MODE: anonymous clients, open channels, wire observer; do not expose.",
    "  Anyone who reaches this server can read and write every channel under any name.",
    "  Market prices are simulated.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_can_be_opened() {
        let rows = [
            ("127.0.0.1:8000", false, "http://127.0.0.1:8000/"),
            ("[::1]:443", true, "https://[::1]:443/"),
            ("0.0.0.0:80", false, "http://127.0.0.1:80/"),
            ("[::]:81", false, "http://[::1]:81/"),
        ];
        for (address, secure, expected) in rows {
            assert_eq!(
                local_url(address.parse().expect("an address"), secure),
                expected
            );
        }
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let failure = cannot_listen(
            "127.0.0.1:8000".parse().expect("an address"),
            &ErrorKind::AddrInUse.into(),
        );
        assert_eq!(failure.exit, Exit::PortTaken);
        assert!(
            failure.line.contains("port 8000") && failure.line.contains("--listen 127.0.0.1:8001")
        );
    }
}
