//! The counted server: the real engine on real sockets, one worker. It ends with its last client, and tells what
//! it has allocated; without a client it ends after a while.

use crate::rooms::Rooms;
use crate::{ALLOCATOR, Result};
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tidegate::Server;

/// `tidegate-gate serve`
pub(crate) fn job() -> Result<()> {
    let server = Server::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .start(|_| Rooms::new(hold, leave))?;
    println!("{}", server.local_addr().port());
    std::thread::sleep(PATIENCE);
    Err("nobody made an end of it".into())
}

/// Makes the worker wait while the client writes to all its connections, so that it finds them ready at once:
/// else what it finds would be a matter of timing.
fn hold() {
    let mut out = std::io::stdout().lock();
    // A driver that is gone shows at the sockets.
    let _ = out.write_all(b"held\n").and_then(|()| out.flush());
    let _ = std::io::stdin().lock().read(&mut [0]);
}

fn leave() {
    let stats = ALLOCATOR.stats();
    println!("{}", stats.allocations + stats.reallocations);
    std::process::exit(0);
}

const PATIENCE: Duration = Duration::from_secs(300);
