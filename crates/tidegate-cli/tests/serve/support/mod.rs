//! What the tests need: a server process, an HTTP request, a WebSocket client.

pub(crate) mod h2;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod ws;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No read of a test waits longer; a server that does not answer fails the test instead of hanging it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that gives up after [`PATIENCE`].
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}
