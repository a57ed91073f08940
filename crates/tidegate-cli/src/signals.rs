//! SIGTERM and SIGINT: the first asks for a drain, the second ends the process. It never drains itself.

use std::io;
use std::sync::mpsc::Receiver;

/// Says so once the first SIGTERM or SIGINT has come. A second one ends the process at once, with 128 plus
/// the signal's number: 143 or 130.
///
/// # Errors
/// When the handlers or their thread cannot be set up.
#[cfg(unix)]
pub(crate) fn stop() -> io::Result<Receiver<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::sync::mpsc;

    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (first, stop) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut received = signals.forever();
            if received.next().is_none() || first.send(()).is_err() {
                return;
            }
            if let Some(signal) = received.next() {
                std::process::exit(128 + signal);
            }
        })?;
    Ok(stop)
}

/// Elsewhere the system's own handling ends the process; there is no drain yet.
#[cfg(not(unix))]
pub(crate) fn stop() -> io::Result<Receiver<()>> {
    let (first, stop) = std::sync::mpsc::sync_channel(1);
    std::mem::forget(first);
    Ok(stop)
}
