//! From a name to addresses: the system's resolver, or one that a program brings along. It keeps no cache.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use tokio::net::lookup_host;

/// What [`Resolve::resolve`] gives back.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks names up: give one to [`crate::Client::resolver`] for DNS over HTTPS, service discovery, a cache, or a
/// test without a network.
///
/// ```
/// use std::net::SocketAddr;
/// use tidegate::dial::{Resolve, Resolving};
///
/// struct Fixed(SocketAddr);
///
/// impl Resolve for Fixed {
///     fn resolve<'a>(&'a self, _host: &'a str, port: u16) -> Resolving<'a> {
///         let address = SocketAddr::new(self.0.ip(), port);
///         Box::pin(async move { Ok(vec![address]) })
///     }
/// }
///
/// let client = tidegate::Client::new().resolver(Fixed("127.0.0.1:0".parse().unwrap()));
/// # let _ = client;
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, with `port`, the preferred one first (RFC 6724). It is not asked for hosts that
    /// are addresses already. The client bounds the time it takes; dropped, the look-up should end.
    ///
    /// # Errors
    /// What the look-up says; no address at all may also be an empty list.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The operating system's resolver (`getaddrinfo`), on a thread of tokio's pool for blocking work. A look-up
/// that is given up goes on there until the system gives up too; it delays nobody else.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}

/// The addresses of `host`, by `resolver` unless it is one itself.
pub(super) async fn look_up(
    resolver: &dyn Resolve,
    host: &str,
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = resolver.resolve(host, port).await?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;

    impl Resolve for Empty {
        fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_a_name_without_one_is_an_error() {
        let found = look_up(&Empty, "::1", 80).await.unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
        let error = look_up(&Empty, "nowhere.example", 80).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = look_up(&SystemResolver, "localhost", 81).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 81));
        assert!(!found.is_empty());
    }
}
