//! SIGINT as something to wait for. It ends nothing by itself.

use tokio::sync::mpsc;

/// One item for each Ctrl-C or SIGINT. Must be called on a runtime.
pub(crate) fn interrupts() -> mpsc::Receiver<()> {
    let (out, interrupts) = mpsc::channel(2);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if out.send(()).await.is_err() {
                return;
            }
        }
    });
    interrupts
}
