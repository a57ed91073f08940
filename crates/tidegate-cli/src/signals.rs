//! SIGTERM and SIGINT ask for a drain, a second one ends the process; SIGHUP asks to read the configuration
//! again. It never does any of these itself.

use std::io;
use std::sync::mpsc::Receiver;

/// What the process is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Let the clients leave and end.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// Says what signals ask for. After the first SIGTERM or SIGINT a second one ends the process at once, with
/// 128 plus the signal's number: 143 or 130.
///
/// # Errors
/// When the handlers or their thread cannot be set up.
#[cfg(unix)]
pub(crate) fn watch() -> io::Result<Receiver<Wanted>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::sync::mpsc;

    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (wanted, watched) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                let asked = match signal {
                    SIGHUP => Wanted::Reload,
                    signal if stopping => std::process::exit(128 + signal),
                    _ => Wanted::Stop,
                };
                stopping |= asked == Wanted::Stop;
                // Once it drains nobody listens any more; the second signal still counts.
                let _ = wanted.send(asked);
            }
        })?;
    Ok(watched)
}

/// Elsewhere the system's own handling ends the process; there is no drain yet.
#[cfg(not(unix))]
pub(crate) fn watch() -> io::Result<Receiver<Wanted>> {
    let (wanted, watched) = std::sync::mpsc::channel();
    std::mem::forget(wanted);
    Ok(watched)
}
