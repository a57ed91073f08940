//! `tidegate serve`: puts workers, control plane and signals together, and takes them down again.

use crate::cli::ServeArgs;
use crate::control::{self, Arrivals, Channels, Control, Site};
use crate::error::{Exit, Failure};
use crate::routes::{Routes, RoutesMail};
use crate::settings::Settings;
use crate::{logs, signals};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tidegate::engine::{Running, Server};
use tidegate_hub::{Hub, HubConfig};
use tidegate_proto::{EndpointConfig, HeadLimits};
use tracing::{info, warn};

/// Serves until a signal says stop and the clients are gone, or the drain is over.
///
/// # Errors
/// What keeps it from serving, in one line.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let settings = Settings::check(args)?;
    logs::start(settings.log_format, &args.log)?;
    let stop = signals::stop()
        .map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    let config = Arc::new(HubConfig::dev());
    let (door, arrivals) = control::door();
    let running = start_workers(&settings, &config, door)?;
    let address = running.local_addr();
    let control = start_control(&settings, &running, config, arrivals)
        .map_err(|error| Failure::failed(format!("the control plane cannot start: {error}")))?;
    announce(&settings, address);
    finish(&settings, &stop, running, control)
}

fn start_workers(
    settings: &Settings,
    config: &Arc<HubConfig>,
    door: control::Door,
) -> Result<Running<RoutesMail>, Failure> {
    let (workers, listen) = (settings.workers, settings.listen);
    let hosts = Arc::new(settings.hosts.clone());
    let config = Arc::clone(config);
    let endpoint = EndpointConfig {
        head: HeadLimits::default(),
        origins: settings.origins.clone(),
    };
    let mut server = Server::builder()
        .listen(listen)
        .workers(workers)
        .endpoint(endpoint)
        .plain_http(move |plain| door.admit(plain));
    if let Some(tls) = &settings.tls {
        server = server.tls(Arc::clone(tls));
    }
    server
        .start(move |worker| {
            Routes::new(
                Arc::clone(&hosts),
                Arc::clone(&config),
                worker,
                workers,
                true,
            )
        })
        .map_err(|error| cannot_listen(listen, &error))
}

fn start_control(
    settings: &Settings,
    running: &Running<RoutesMail>,
    config: Arc<HubConfig>,
    arrivals: Arrivals,
) -> io::Result<Control> {
    let mailer = running.mailer();
    let workers = mailer.workers();
    let post = move |worker, mail| mailer.post(worker, RoutesMail::Hub(mail));
    let hub = Hub::new(config, workers, post);
    let site = Site {
        hosts: Arc::new(settings.hosts.clone()),
        channels: Channels::new(hub),
    };
    Control::start(arrivals, site, running.adopter(), true, settings.drain)
}

/// Waits for the first signal, then for the clients to leave or the drain to be over.
fn finish(
    settings: &Settings,
    stop: &Receiver<()>,
    running: Running<RoutesMail>,
    control: Control,
) -> Result<(), Failure> {
    // An error would mean that no signal can come any more; then it is time to go, too.
    let _ = stop.recv();
    info!(
        seconds = settings.drain.as_secs(),
        "draining; a second signal ends at once"
    );
    running.drain(settings.drain);
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

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
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
fn announce(settings: &Settings, address: SocketAddr) {
    logs::notice(settings.log_format, &DEVELOPMENT_MODE);
    if !address.ip().is_loopback() && settings.tls.is_none() {
        warn!("others can reach {address} and read everything: there is no TLS (--allow-plain)");
    }
    let url = url(address, settings.tls.is_some());
    let mut stdout = io::stdout().lock();
    // Whoever closed stdout does not want the line.
    let _ = writeln!(stdout, "Tidegate is live: {url}").and_then(|()| stdout.flush());
}

/// What to open in a browser on this machine.
fn url(address: SocketAddr, secure: bool) -> String {
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
            assert_eq!(url(address.parse().expect("an address"), secure), expected);
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
