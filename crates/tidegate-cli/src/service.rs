//! What the service manager (systemd) is told: ready, reloading, stopping, alive. Where there is none, nothing
//! is said and nothing fails.

/// It serves, or serves again after a reload.
pub(crate) fn ready() {
    #[cfg(unix)]
    say(&[sd_notify::NotifyState::Ready]);
}

/// It reads its configuration.
pub(crate) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        say(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// It drains.
pub(crate) fn stopping() {
    #[cfg(unix)]
    say(&[sd_notify::NotifyState::Stopping]);
}

/// All workers have answered: with `WatchdogSec` the manager restarts a server that does not say so any more.
pub(crate) fn alive() {
    #[cfg(unix)]
    say(&[sd_notify::NotifyState::Watchdog]);
}

#[cfg(unix)]
fn say(states: &[sd_notify::NotifyState<'_>]) {
    // A manager that does not listen is no reason to stop.
    let _ = sd_notify::notify(states);
}
