//! Listening sockets, one per worker, and the limit of open files; accepts nothing itself.

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// Connections the kernel holds for us until they are accepted. Linux takes at most `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listeners on one address, one for each worker.
///
/// The first socket is bound without `SO_REUSEPORT`, so a port that anybody else holds is an error. Then it
/// gets that option, and the others join it: the kernel spreads connections over them by hash, and no
/// moment passes in which the port is not ours. Where the kernel does not spread connections (outside of
/// Linux) the workers share one socket.
///
/// # Errors
/// `AddrInUse` when the port is taken, `PermissionDenied`, `AddrNotAvailable` and what else binding can say.
pub(crate) fn listen(
    addr: SocketAddr,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = bound(addr, false)?;
    let local = first
        .local_addr()?
        .as_socket()
        .expect("a TCP socket has an IP address");
    let mut sockets = Vec::with_capacity(workers);
    if SPREADS && workers > 1 {
        reuse_port(&first)?;
        sockets.push(first);
        for _ in 1..workers {
            sockets.push(bound(local, true)?);
        }
        // Not before all are bound: from here on connections are spread over those that listen.
        sockets
            .iter()
            .try_for_each(|socket| socket.listen(BACKLOG))?;
    } else {
        first.listen(BACKLOG)?;
        for _ in 1..workers {
            sockets.push(first.try_clone()?);
        }
        sockets.push(first);
    }
    let listeners = sockets
        .into_iter()
        .map(|socket| TcpListener::from_std(socket.into()))
        .collect();
    Ok((local, listeners))
}

fn bound(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // On Unix this lets us bind while old connections of the port are in TIME-WAIT; on Windows it would
    // let us steal the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if shared {
        reuse_port(&socket)?;
    }
    socket.set_nonblocking(true)?;
    // Linux hands this on to accepted sockets, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Whether the kernel spreads connections over sockets that share a port.
const SPREADS: bool = cfg!(target_os = "linux");

/// Whether an accepted socket has its listener's `TCP_NODELAY`.
pub(crate) const NODELAY_IS_INHERITED: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(target_os = "linux"))]
fn reuse_port(_: &Socket) -> io::Result<()> {
    Ok(())
}

/// Raises the soft limit of open files to the hard one: each connection is one. Returns what now holds;
/// `None` where there is no such limit.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(?current, ?maximum, %error, "the limit of open files could not be raised");
            current
        }
    }
}

/// There is no such limit here.
#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn any() -> SocketAddr {
        ANY.parse().expect("an address")
    }

    #[test]
    fn port_zero_becomes_one_port_for_all_workers() {
        let (addr, listeners) = listen(any(), 4).expect("a free port");
        assert_ne!(addr.port(), 0);
        assert_eq!(listeners.len(), 4);
        for listener in &listeners {
            assert_eq!(listener.local_addr().expect("bound"), addr);
        }
    }

    #[test]
    fn a_port_that_another_server_shares_out_is_taken_all_the_same() {
        let (addr, _listeners) = listen(any(), 4).expect("a free port");
        for workers in [1, 4] {
            let error = listen(addr, workers).expect_err("the port is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn a_port_that_a_plain_listener_holds_is_taken() {
        let holder = std::net::TcpListener::bind(any()).expect("a free port");
        let error = listen(holder.local_addr().expect("bound"), 2).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_free_again_once_its_listeners_are_gone() {
        let (addr, listeners) = listen(any(), 2).expect("a free port");
        drop(listeners);
        listen(addr, 2).expect("the port is free");
    }

    #[cfg(unix)]
    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let now = raise_open_files();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(now, limit.current);
        assert_eq!(limit.current, limit.maximum);
    }
}
