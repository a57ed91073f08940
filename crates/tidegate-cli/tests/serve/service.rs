//! What the service manager hears: ready, alive, reloading, stopping; over a socket like systemd's.

use crate::support::PATIENCE;
use crate::support::process::Server;
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A manager that listens.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new() -> Manager {
        let path = std::env::temp_dir().join(format!("tidegate-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path); // of a run that was killed
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager { socket, path }
    }

    /// Waits for a message that begins so.
    fn hears(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let mut octets = [0; 1024];
            let n = self.socket.recv(&mut octets).unwrap_or(0);
            let text = String::from_utf8_lossy(&octets[..n]).into_owned();
            if text.starts_with(wanted) {
                return text;
            }
            heard.push(text);
        }
        panic!("no {wanted} in {heard:?}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn the_service_manager_hears_of_start_life_reload_and_end() {
    let manager = Manager::new();
    let path = manager.path.to_str().expect("a path in UTF-8");
    let server = Server::start_with(&["--workers", "2"], &[("NOTIFY_SOCKET", path)]);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    server.signal(Signal::HUP);
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1");
    server.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(server.wait(Duration::from_secs(60)).status.code(), Some(0));
}
